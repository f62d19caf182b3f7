# Sets HRM_WITH_CUDA: ON where there is a CUDA compiler, in which case the language is enabled.
#   HRM_CUDA        AUTO: CUDA code where a compiler >= 12.4 is found; ON: require it; OFF: never
#   HRM_CUDA_ARCHS  as CMAKE_CUDA_ARCHITECTURES; release: all that a prebuilt addon has code for; checkout: one, for speed
# Both from the cache or, at the first configuration, from the environment.
foreach(name HRM_CUDA HRM_CUDA_ARCHS)
  set(default "")
  if(DEFINED ENV{${name}})
    set(default "$ENV{${name}}")
  endif()
  set(${name} "${default}" CACHE STRING "See cuda/toolkit.cmake")
endforeach()

set(HRM_WITH_CUDA OFF)
# Cross compilers have no CUDA toolkit of their target here; sanitizers do not know its host code.
if(HRM_CUDA STREQUAL "OFF" OR ((CMAKE_CROSSCOMPILING OR HRM_SANITIZE) AND NOT HRM_CUDA STREQUAL "ON"))
  return()
endif()

# In a checkout the tests have no GPU in most cases, and want a fast build. 90-virtual is for what comes after: code
# for 90a runs on 9.0 alone.
set(architectures "${HRM_CUDA_ARCHS}")
if(architectures STREQUAL "checkout" OR (architectures STREQUAL "" AND HRM_CHECKOUT))
  set(architectures 90a-real)
elseif(architectures STREQUAL "release" OR architectures STREQUAL "")
  set(architectures 80-real 86-real 89-real 90a-real 120-real 90-virtual)
endif()
set(CMAKE_CUDA_ARCHITECTURES "${architectures}") # before the language, and before its targets

if(NOT DEFINED ENV{CUDACXX} AND NOT CMAKE_CUDA_COMPILER)
  find_program(HRM_NVCC nvcc HINTS ENV CUDA_PATH ENV CUDA_HOME PATHS /usr/local/cuda PATH_SUFFIXES bin)
  if(HRM_NVCC)
    set(CMAKE_CUDA_COMPILER "${HRM_NVCC}")
  endif()
endif()
include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  enable_language(CUDA)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.4)
    set(HRM_WITH_CUDA ON)
  endif()
endif()
if(HRM_CUDA STREQUAL "ON" AND NOT HRM_WITH_CUDA)
  message(FATAL_ERROR "HRM_CUDA is ON, but no CUDA compiler >= 12.4 was found: set CUDACXX or CUDA_PATH")
endif()
message(STATUS "CUDA code: ${HRM_WITH_CUDA} ${CMAKE_CUDA_ARCHITECTURES}")
