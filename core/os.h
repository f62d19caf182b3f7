#pragma once
#include <cstddef>
#include <memory>
#include <string>

namespace hrm {

/// A file mapped into memory; unmapped with the object. Writes to the memory do not reach the file.
class MappedFile {
 public:
  /// Throws ERR_HRM_IO naming the path.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

/// An exclusive advisory lock on a file, given up with the object or with the process, however it ends.
class FileLock {
 public:
  /// Creates the file if need be; null when another process holds the lock. Throws ERR_HRM_IO naming the path.
  static std::unique_ptr<FileLock> try_acquire(const std::string& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  FileLock() = default;
  int descriptor_ = -1;
};

}  // namespace hrm
