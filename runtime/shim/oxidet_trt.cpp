// Versions, log, plugins and running; building is in oxidet_trt_build.cpp. See oxidet_trt.h.
#include "oxidet_trt_internal.h"

#include <NvInferPlugin.h>

#include <dlfcn.h>
#include <memory>
#include <type_traits>

using namespace oxidet_trt;

Log& oxidet_trt::logger()
{
    static Log* log = new Log;
    return *log;
}

std::string& oxidet_trt::lastError()
{
    static thread_local std::string text;
    return text;
}

namespace
{

int32_t typeOf(nvinfer1::DataType type)
{
    switch (type)
    {
    case nvinfer1::DataType::kFLOAT: return OXIDET_TRT_FLOAT;
    case nvinfer1::DataType::kHALF: return OXIDET_TRT_HALF;
    case nvinfer1::DataType::kINT8: return OXIDET_TRT_INT8_TENSOR;
    case nvinfer1::DataType::kINT32: return OXIDET_TRT_INT32;
#if NV_TENSORRT_MAJOR >= 10
    case nvinfer1::DataType::kINT64: return OXIDET_TRT_INT64;
#endif
    default: return OXIDET_TRT_OTHER;
    }
}

void copyDims(nvinfer1::Dims const& dims, int64_t* out)
{
    for (int32_t axis = 0; axis < OXIDET_TRT_MAX_RANK; ++axis)
    {
        out[axis] = axis < dims.nbDims ? dims.d[axis] : 0;
    }
}

} // namespace

// ---- handles; members go in the reverse order ----

struct oxidet_trt_engine
{
    std::unique_ptr<nvinfer1::IRuntime> runtime;
    std::unique_ptr<nvinfer1::ICudaEngine> engine;
    std::string layers;
};

struct oxidet_trt_context
{
    std::unique_ptr<nvinfer1::IExecutionContext> context;
};

uint32_t oxidet_trt_abi(void)
{
    return OXIDET_TRT_ABI;
}

void oxidet_trt_get_versions(oxidet_trt_versions* out)
{
    // 8503 is 8.5.3, 100300 is 10.3.0.
    int32_t const loaded = getInferLibVersion(), unit = loaded < 10000 ? 1000 : 10000;
    *out = {{NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR, NV_TENSORRT_PATCH}, {loaded / unit, loaded % unit / 100, loaded % 100}};
}

char const* oxidet_trt_last_error(void)
{
    return lastError().c_str();
}

void oxidet_trt_set_log(oxidet_trt_log log, void* user)
{
    guarded([&] { logger().listen(log, user); });
}

int32_t oxidet_trt_init_plugins(void)
{
    return guarded([] {
        if (!initLibNvInferPlugins(&logger(), ""))
        {
            fail("TensorRT's plugins cannot be registered");
        }
    });
}

int32_t oxidet_trt_load_plugins(char const* path)
{
    return guarded([&] {
        void* const library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
        if (library == nullptr)
        {
            char const* const why = dlerror();
            fail(std::string("the plugin library cannot be opened: ") + (why != nullptr ? why : path));
        }
#if NV_TENSORRT_MAJOR >= 10
        // Libraries with this function wait to be asked; others have registered their plugins when they were opened.
        bool const waits = dlsym(library, "getCreators") != nullptr || dlsym(library, "getPluginCreators") != nullptr;
        if (waits && getPluginRegistry()->loadLibrary(path) == nullptr)
        {
            fail(std::string(path) + ": its plugins cannot be registered");
        }
#endif
    });
}

int32_t oxidet_trt_open(void const* plan, uint64_t len, int32_t dla_core, oxidet_trt_engine** out)
{
    return guarded([&] {
        auto handle = std::make_unique<oxidet_trt_engine>();
        handle->runtime.reset(nvinfer1::createInferRuntime(logger()));
        if (!handle->runtime)
        {
            fail("TensorRT cannot make a runtime");
        }
        if (dla_core >= 0)
        {
            handle->runtime->setDLACore(dla_core);
        }
        handle->engine.reset(handle->runtime->deserializeCudaEngine(plan, static_cast<std::size_t>(len)));
        if (!handle->engine)
        {
            fail("TensorRT does not open this plan");
        }
        *out = handle.release();
    });
}

int32_t oxidet_trt_tensors(oxidet_trt_engine const* engine)
{
    return engine->engine->getNbIOTensors();
}

int32_t oxidet_trt_describe(oxidet_trt_engine const* engine, int32_t index, oxidet_trt_tensor* out)
{
    return guarded([&] {
        auto const& of = *engine->engine;
        char const* const name = of.getIOTensorName(index);
        if (name == nullptr)
        {
            fail("there is no tensor " + std::to_string(index));
        }
        nvinfer1::Dims const dims = of.getTensorShape(name);
        if (dims.nbDims < 0 || dims.nbDims > OXIDET_TRT_MAX_RANK)
        {
            fail(std::string("tensor `") + name + "` has no shape");
        }
        *out = {};
        out->name = name;
        out->is_input = of.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT ? 1 : 0;
        out->type = typeOf(of.getTensorDataType(name));
        out->rank = dims.nbDims;
        copyDims(dims, out->dims);
        for (int64_t* sizes : {out->min, out->opt, out->max})
        {
            copyDims(dims, sizes);
        }
        if (out->is_input != 0 && of.getNbOptimizationProfiles() > 0)
        {
            using Select = nvinfer1::OptProfileSelector;
            copyDims(of.getProfileShape(name, 0, Select::kMIN), out->min);
            copyDims(of.getProfileShape(name, 0, Select::kOPT), out->opt);
            copyDims(of.getProfileShape(name, 0, Select::kMAX), out->max);
        }
    });
}

int32_t oxidet_trt_inspect(oxidet_trt_engine* engine, oxidet_trt_bytes* out)
{
    return guarded([&] {
        std::unique_ptr<nvinfer1::IEngineInspector> inspector(engine->engine->createEngineInspector());
        char const* const layers
            = inspector ? inspector->getEngineInformation(nvinfer1::LayerInformationFormat::kJSON) : nullptr;
        if (layers == nullptr)
        {
            fail("TensorRT does not describe this engine");
        }
        engine->layers = layers;
        *out = {engine->layers.data(), engine->layers.size()};
    });
}

void oxidet_trt_close(oxidet_trt_engine* engine)
{
    delete engine;
}

int32_t oxidet_trt_context_new(oxidet_trt_engine* engine, oxidet_trt_context** out)
{
    return guarded([&] {
        auto handle = std::make_unique<oxidet_trt_context>();
        handle->context.reset(engine->engine->createExecutionContext());
        if (!handle->context)
        {
            fail("TensorRT cannot make an execution context");
        }
        if (handle->context->getOptimizationProfile() < 0)
        {
            fail("the plan's profile serves another session already: plans of TensorRT 8.5 with an open batch run in one session at a time");
        }
        *out = handle.release();
    });
}

int32_t oxidet_trt_set_shape(oxidet_trt_context* context, char const* input, int32_t rank, int64_t const* dims)
{
    return guarded([&] {
        nvinfer1::Dims shape{};
        if (rank < 0 || rank > OXIDET_TRT_MAX_RANK)
        {
            fail("a tensor has 0 to 8 axes");
        }
        shape.nbDims = rank;
        for (int32_t axis = 0; axis < rank; ++axis)
        {
            shape.d[axis] = static_cast<std::remove_reference_t<decltype(shape.d[0])>>(dims[axis]);
        }
        if (!context->context->setInputShape(input, shape))
        {
            fail(std::string("input `") + input + "` of " + text(shape) + " does not fit the engine's profile");
        }
    });
}

int32_t oxidet_trt_shape(oxidet_trt_context const* context, char const* tensor, int32_t* rank, int64_t* dims)
{
    return guarded([&] {
        nvinfer1::Dims const shape = context->context->getTensorShape(tensor);
        if (shape.nbDims < 0 || shape.nbDims > OXIDET_TRT_MAX_RANK)
        {
            fail(std::string("tensor `") + tensor + "` has no shape");
        }
        *rank = shape.nbDims;
        copyDims(shape, dims);
    });
}

int32_t oxidet_trt_set_address(oxidet_trt_context* context, char const* tensor, void* address)
{
    return guarded([&] {
        if (!context->context->setTensorAddress(tensor, address))
        {
            fail(std::string("tensor `") + tensor + "` does not take its address");
        }
    });
}

int32_t oxidet_trt_enqueue(oxidet_trt_context* context, void* stream)
{
    return guarded([&] {
        if (!context->context->enqueueV3(static_cast<cudaStream_t>(stream)))
        {
            fail("TensorRT cannot run the engine");
        }
    });
}

void oxidet_trt_context_free(oxidet_trt_context* context)
{
    delete context;
}
