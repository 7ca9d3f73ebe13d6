// Linked by itself, so that the same fake can be a library of another version.
#include <NvInferVersion.h>
#include <cstdint>

#ifndef FAKE_VERSION
#define FAKE_VERSION (NV_TENSORRT_MAJOR * (NV_TENSORRT_MAJOR < 10 ? 1000 : 10000) + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH)
#endif

extern "C" int32_t getInferLibVersion() noexcept
{
    return FAKE_VERSION;
}
