#include "core/os.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace hrm {

namespace {

[[noreturn]] void fail(const char* operation, const std::string& path) {
  throw Error("ERR_HRM_IO", std::string("[") + operation + "] " + path + ": " + std::strerror(errno));
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail("map", path);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) {
    ::close(descriptor);
    fail("map", path);
  }
  size_ = static_cast<size_t>(status.st_size);
  // Copy-on-write: JavaScript can write to any buffer, and must hit neither the file nor a protected page.
  if (size_ > 0) data_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
  ::close(descriptor);
  if (data_ == MAP_FAILED) {
    data_ = nullptr;
    fail("map", path);
  }
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(data_, size_);
}

std::unique_ptr<FileLock> FileLock::try_acquire(const std::string& path) {
  std::unique_ptr<FileLock> lock(new FileLock);
  lock->descriptor_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock->descriptor_ < 0) fail("lock", path);
  if (::flock(lock->descriptor_, LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) fail("lock", path);
  return nullptr;
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

}  // namespace hrm
