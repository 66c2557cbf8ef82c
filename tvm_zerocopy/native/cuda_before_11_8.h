// What TVM's CUDA runtime takes from CUDA 11.8 and later, for JetPack 5's 11.4: `g++ -include cuda_before_11_8.h ...`.
//
// Launches with attributes (clusters, programmatic launch) are for GPUs newer than any that runs CUDA 11.4's Tegra driver;
// a launch that asks for one fails with CUDA_ERROR_NOT_SUPPORTED.
#pragma once

#include <cuda.h>

#if CUDA_VERSION < 11080

enum CUlaunchAttributeID {
  CU_LAUNCH_ATTRIBUTE_COOPERATIVE = 2,
  CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION = 4,
  CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6,
  CU_LAUNCH_ATTRIBUTE_PREFERRED_CLUSTER_DIMENSION = 11
};

struct CUlaunchAttribute {
  CUlaunchAttributeID id;
  union {
    struct {
      unsigned int x, y, z;
    } clusterDim;
    int programmaticStreamSerializationAllowed;
    int cooperative;
  } value;
};

struct CUlaunchConfig {
  unsigned int gridDimX, gridDimY, gridDimZ;
  unsigned int blockDimX, blockDimY, blockDimZ;
  unsigned int sharedMemBytes;
  CUstream hStream;
  CUlaunchAttribute* attrs;
  unsigned int numAttrs;
};

constexpr CUfunction_attribute CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED =
    static_cast<CUfunction_attribute>(14);

inline CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** arguments, void** extra) {
  if (config->numAttrs != 0) return CUDA_ERROR_NOT_SUPPORTED;
  return cuLaunchKernel(function, config->gridDimX, config->gridDimY, config->gridDimZ, config->blockDimX,
                        config->blockDimY, config->blockDimZ, config->sharedMemBytes, config->hStream, arguments, extra);
}

#endif
