#pragma once
// What kernels are written in, besides C++ and the CUDA words __global__, __device__, __forceinline__, __restrict__,
// threadIdx, blockIdx, blockDim, gridDim, __syncthreads(), __syncwarp(), __shfl_sync(), __shfl_xor_sync(),
// __shfl_down_sync() and the plain C mathematics functions: shared memory, tensor cores, asynchronous copies, bf16.
// nvcc gets PTX, another compiler what host/ makes of it; kernels do not see the difference.
//
//   struct bf16 { uint16_t bits; }                        the upper half of a float
//   float to_float(bf16);  bf16 to_bf16(float)            round to nearest even
//   uint32_t pack_bf16(float low, float high)             two in a register
//   void unpack_bf16(uint32_t, float& low, float& high)
//   T* shared_memory<T>()                                 the block's dynamic shared memory, the only kind used;
//   undefined at first load_matrices(uint32_t (&r)[4], const void* row)      ldmatrix.sync.aligned.m8n8.x4.shared.b16:
//   lane i points at row i % 8 of
//                                                         8x8 matrix i / 8; rows of 16 bytes, aligned to 16
//   load_matrices_transposed(uint32_t (&r)[4], const void* row)   the same with .trans
//   multiply_add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2])
//                                                         d += a b: mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
//   copy_async(void* shared, const void* global, bool valid)      cp.async.cg of 16 bytes; zeros where not valid
//   copy_async_commit();  copy_async_wait<n>()            all but the latest n groups have arrived (this thread's own:
//   barrier!)

#ifdef __CUDACC__
#include "cuda/primitives_ptx.h"
#else
#include "cuda/host/primitives_host.h"
#endif
