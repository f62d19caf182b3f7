# Compile flags of the kernel files, one per instruction set; the program picks among them at run time. Included by the
# CMakeLists.txt of the repository root. Warnings that g++ 12's own AVX-512 headers raise are off.
set(kernel_flags -O3 -fno-math-errno -fno-trapping-math)
set(portable_flags ${kernel_flags})
set(x86_kernels cpu/simd/kernels_avx2.cc cpu/simd/kernels_avx512.cc cpu/simd/int8_avx2.cc cpu/simd/int8_avx512vnni.cc)
set(arm_kernels cpu/simd/kernels_neon.cc)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(avx512_flags ${kernel_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -Wno-uninitialized
                   -Wno-maybe-uninitialized)
  set_source_files_properties(cpu/simd/kernels_avx2.cc cpu/simd/int8_avx2.cc
                              PROPERTIES COMPILE_OPTIONS "${kernel_flags};-mavx2;-mfma")
  set_source_files_properties(cpu/simd/kernels_avx512.cc PROPERTIES COMPILE_OPTIONS "${avx512_flags}")
  set_source_files_properties(cpu/simd/int8_avx512vnni.cc PROPERTIES COMPILE_OPTIONS "${avx512_flags};-mavx512vnni")
  set(foreign_kernels ${arm_kernels})
else()
  # Other processors have fused multiply-adds in their base set.
  list(APPEND portable_flags -ffp-contract=fast)
  set(foreign_kernels ${x86_kernels})
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    set_source_files_properties(${arm_kernels} PROPERTIES COMPILE_OPTIONS "${kernel_flags}")
  else()
    list(APPEND foreign_kernels ${arm_kernels})
  endif()
endif()
# No fused multiply-adds of the compiler's choice in the int8 kernels: their results are the same on every processor.
set_source_files_properties(cpu/simd/int8_portable.cc PROPERTIES COMPILE_OPTIONS "${kernel_flags}")
# Listed but not compiled.
set_source_files_properties(${foreign_kernels} PROPERTIES HEADER_FILE_ONLY TRUE)
set_source_files_properties(cpu/simd/kernels_portable.cc PROPERTIES COMPILE_OPTIONS "${portable_flags}")
