// Building: a model becomes a plan. See oxidet_trt.h.
#include "oxidet_trt_internal.h"

#include <NvOnnxParser.h>

#include <atomic>
#include <memory>
#include <type_traits>
#include <utility>

using namespace oxidet_trt;

namespace
{

#if NV_TENSORRT_MAJOR >= 10
class Monitor : public nvinfer1::IProgressMonitor
{
public:
    Monitor(oxidet_trt_progress progress, void* user)
        : mProgress(progress)
        , mUser(user)
    {
    }

    void phaseStart(char const* phase, char const* parent, int32_t steps) noexcept override
    {
        hear(OXIDET_TRT_PHASE_BEGINS, phase, parent, steps);
    }

    bool stepComplete(char const* phase, int32_t step) noexcept override
    {
        hear(OXIDET_TRT_STEP_DONE, phase, nullptr, step);
        return !mCancelled;
    }

    void phaseFinish(char const* phase) noexcept override
    {
        hear(OXIDET_TRT_PHASE_ENDS, phase, nullptr, 0);
    }

    bool cancelled() const
    {
        return mCancelled;
    }

private:
    void hear(int32_t event, char const* phase, char const* parent, int32_t value) noexcept
    {
        if (mProgress(mUser, event, phase, parent, value) != 0)
        {
            mCancelled = true;
        }
    }

    oxidet_trt_progress mProgress;
    void* mUser;
    std::atomic<bool> mCancelled{false};
};
#endif

#if NV_TENSORRT_MAJOR < 11
//! Serves the text of a cache. It has no images: a cache that TensorRT does not take is an error.
class Ranges : public nvinfer1::IInt8EntropyCalibrator2
{
public:
    Ranges(void const* text, uint64_t len)
        : mText(text)
        , mLen(len)
    {
    }

    int32_t getBatchSize() const noexcept override
    {
        return 1;
    }

    bool getBatch(void*[], char const*[], int32_t) noexcept override
    {
        mAskedForImages = true;
        return false;
    }

    void const* readCalibrationCache(std::size_t& len) noexcept override
    {
        len = static_cast<std::size_t>(mLen);
        return mText;
    }

    void writeCalibrationCache(void const*, std::size_t) noexcept override {}

    bool askedForImages() const
    {
        return mAskedForImages;
    }

private:
    void const* mText;
    uint64_t mLen;
    bool mAskedForImages = false;
};
#endif

void parse(nvinfer1::INetworkDefinition& network, oxidet_trt_request const& request)
{
    std::unique_ptr<nvonnxparser::IParser> parser(nvonnxparser::createParser(network, logger()));
    if (!parser)
    {
        fail("no ONNX parser can be made");
    }
    if (parser->parse(request.onnx, static_cast<std::size_t>(request.onnx_len)))
    {
        return;
    }
    std::string errors;
    for (int index = 0; index < parser->getNbErrors(); ++index)
    {
        auto const* error = parser->getError(index);
        std::string name;
        int const node = error->node();
        if (node >= 0 && static_cast<uint64_t>(node) < request.nodes)
        {
            name = request.node_names[node];
        }
#if NV_TENSORRT_MAJOR >= 10
        if (error->nodeName() != nullptr && error->nodeName()[0] != '\0')
        {
            name = error->nodeName();
        }
#endif
        errors += errors.empty() ? "" : "; ";
        errors += name.empty() ? "node " + std::to_string(node) : "node `" + name + "`";
        errors += std::string(": ") + error->desc();
    }
    fail("the ONNX parser refuses the model" + (errors.empty() ? errors : ": " + errors));
}

//! One profile, unless all sizes are fixed.
nvinfer1::IOptimizationProfile* profile(
    nvinfer1::IBuilder& builder, nvinfer1::INetworkDefinition const& network, oxidet_trt_request const& request)
{
    nvinfer1::IOptimizationProfile* profile = nullptr;
    for (int32_t index = 0; index < network.getNbInputs(); ++index)
    {
        nvinfer1::ITensor const* input = network.getInput(index);
        nvinfer1::Dims dims = input->getDimensions();
        bool const dynamicBatch = dims.nbDims > 0 && dims.d[0] == -1;
        for (int32_t axis = 1; axis < dims.nbDims; ++axis)
        {
            if (dims.d[axis] == -1)
            {
                fail(std::string("input `") + input->getName() + "` is " + text(dims) + ": only its batch may be open");
            }
        }
        if (!dynamicBatch)
        {
            continue;
        }
        if (profile == nullptr)
        {
            profile = builder.createOptimizationProfile();
        }
        using Select = nvinfer1::OptProfileSelector;
        std::pair<Select, int64_t> const sizes[]
            = {{Select::kMIN, request.min}, {Select::kOPT, request.opt}, {Select::kMAX, request.max}};
        for (auto const& size : sizes)
        {
            // Of 32 or 64 bits, by version.
            dims.d[0] = static_cast<std::remove_reference_t<decltype(dims.d[0])>>(size.second);
            if (profile == nullptr || !profile->setDimensions(input->getName(), size.first, dims))
            {
                fail(std::string("no profile for input `") + input->getName() + "` of " + text(dims));
            }
        }
    }
    return profile;
}

#if NV_TENSORRT_MAJOR < 11
bool belongsTo(std::string const& layer, std::string const& name)
{
    return layer.compare(0, name.size(), name) == 0 && (layer.size() == name.size() || layer[name.size()] == '/');
}

void setPrecision(nvinfer1::ILayer& layer, int32_t type, bool outputsToo)
{
    auto const precision = type == OXIDET_TRT_HALF ? nvinfer1::DataType::kHALF
        : type == OXIDET_TRT_INT8_TENSOR           ? nvinfer1::DataType::kINT8
                                                   : nvinfer1::DataType::kFLOAT;
    layer.setPrecision(precision);
    for (int32_t index = 0; outputsToo && index < layer.getNbOutputs(); ++index)
    {
        auto const was = layer.getOutput(index)->getType();
        if (was == nvinfer1::DataType::kFLOAT || was == nvinfer1::DataType::kHALF)
        {
            layer.setOutputType(index, precision);
        }
    }
}

//! Whether the precision of a layer was set.
bool setPrecisions(nvinfer1::INetworkDefinition const& network, oxidet_trt_request const& request)
{
    bool any = false;
    for (uint64_t index = 0; index < request.n_float_layers; ++index)
    {
        bool found = false;
        for (int32_t at = 0; at < network.getNbLayers(); ++at)
        {
            found = found || belongsTo(network.getLayer(at)->getName(), request.float_layers[index]);
        }
        if (!found)
        {
            fail(std::string("there is no layer `") + request.float_layers[index] + "` to keep in float");
        }
    }
    for (int32_t at = 0; at < network.getNbLayers(); ++at)
    {
        nvinfer1::ILayer& layer = *network.getLayer(at);
        bool inFloat = false;
        for (uint64_t index = 0; index < request.n_float_layers; ++index)
        {
            inFloat = inFloat || belongsTo(layer.getName(), request.float_layers[index]);
        }
        auto const kind = layer.getType();
        if (inFloat && kind != nvinfer1::LayerType::kCONSTANT && kind != nvinfer1::LayerType::kSHAPE)
        {
            setPrecision(layer, request.float_type, true);
            any = true;
        }
        else if (!inFloat && kind == nvinfer1::LayerType::kCONVOLUTION && request.convolution_type != OXIDET_TRT_OTHER)
        {
            setPrecision(layer, request.convolution_type, false);
            any = true;
        }
    }
    return any;
}
#endif

void setFlags(nvinfer1::IBuilder& builder, nvinfer1::IBuilderConfig& config, nvinfer1::INetworkDefinition const& network,
    oxidet_trt_request const& request)
{
    if ((request.flags & OXIDET_TRT_NO_TF32) != 0)
    {
        config.clearFlag(nvinfer1::BuilderFlag::kTF32);
    }
#if NV_TENSORRT_MAJOR < 11
    bool const half = (request.flags & OXIDET_TRT_FP16) != 0, integer = (request.flags & OXIDET_TRT_INT8) != 0;
    if ((request.flags & OXIDET_TRT_STRONGLY_TYPED) != 0)
    {
        if (half || integer || request.n_float_layers > 0 || request.convolution_type != OXIDET_TRT_OTHER)
        {
            fail("a strongly typed network has its precisions in the model");
        }
        return;
    }
    if (half && !builder.platformHasFastFp16())
    {
        fail("this device does not compute fast in half precision");
    }
    if (integer && !builder.platformHasFastInt8())
    {
        fail("this device does not compute fast in INT8");
    }
    if (half)
    {
        config.setFlag(nvinfer1::BuilderFlag::kFP16);
    }
    if (integer)
    {
        config.setFlag(nvinfer1::BuilderFlag::kINT8);
    }
    if (setPrecisions(network, request))
    {
        config.setFlag((request.flags & OXIDET_TRT_OBEY) != 0 ? nvinfer1::BuilderFlag::kOBEY_PRECISION_CONSTRAINTS
                                                              : nvinfer1::BuilderFlag::kPREFER_PRECISION_CONSTRAINTS);
    }
#else
    (void) builder;
    (void) network;
    uint32_t const gone = OXIDET_TRT_FP16 | OXIDET_TRT_INT8 | OXIDET_TRT_OBEY;
    if ((request.flags & gone) != 0 || request.n_float_layers > 0 || request.convolution_type != OXIDET_TRT_OTHER
        || request.calibration != nullptr)
    {
        fail("TensorRT 11 has neither precision flags nor calibration: precisions are in the model");
    }
#endif
}

void setDevice(nvinfer1::IBuilder& builder, nvinfer1::IBuilderConfig& config, oxidet_trt_request const& request)
{
    if (request.workspace > 0)
    {
        config.setMemoryPoolLimit(nvinfer1::MemoryPoolType::kWORKSPACE, static_cast<std::size_t>(request.workspace));
    }
    if (request.dla_core >= 0)
    {
        int32_t const cores = builder.getNbDLACores();
        if (request.dla_core >= cores)
        {
            fail("there is no DLA core " + std::to_string(request.dla_core) + ": this device has " + std::to_string(cores));
        }
        config.setDefaultDeviceType(nvinfer1::DeviceType::kDLA);
        config.setDLACore(request.dla_core);
        config.setFlag(nvinfer1::BuilderFlag::kGPU_FALLBACK);
    }
}

std::string bytesOf(nvinfer1::IHostMemory const& memory)
{
    return {static_cast<char const*>(memory.data()), memory.size()};
}

} // namespace

struct oxidet_trt_built
{
    std::string plan;
    std::string timing;
};

namespace
{

void build(oxidet_trt_request const& request, oxidet_trt_built& built)
{
    std::unique_ptr<nvinfer1::IBuilder> builder(nvinfer1::createInferBuilder(logger()));
    if (!builder)
    {
        fail("TensorRT cannot make a builder");
    }
    nvinfer1::NetworkDefinitionCreationFlags kind = 0;
#if NV_TENSORRT_MAJOR < 10
    kind |= 1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
    if ((request.flags & OXIDET_TRT_STRONGLY_TYPED) != 0)
    {
        fail("strongly typed networks need TensorRT 10");
    }
#elif NV_TENSORRT_MAJOR == 10
    if ((request.flags & OXIDET_TRT_STRONGLY_TYPED) != 0)
    {
        kind |= 1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
    }
#endif
    std::unique_ptr<nvinfer1::INetworkDefinition> network(builder->createNetworkV2(kind));
    std::unique_ptr<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
    if (!network || !config)
    {
        fail("TensorRT cannot make a network");
    }
    parse(*network, request);
    nvinfer1::IOptimizationProfile* const sizes = profile(*builder, *network, request);
    if (sizes != nullptr && config->addOptimizationProfile(sizes) < 0)
    {
        fail("TensorRT refuses the profile of batches");
    }
    setFlags(*builder, *config, *network, request);
    setDevice(*builder, *config, request);
    config->setProfilingVerbosity(nvinfer1::ProfilingVerbosity::kDETAILED);
#if NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR >= 6
    // From 10 on several contexts share a profile anyway.
    config->setPreviewFeature(nvinfer1::PreviewFeature::kPROFILE_SHARING_0806, true);
#endif

#if NV_TENSORRT_MAJOR < 11
    Ranges ranges(request.calibration, request.calibration_len);
    if (request.calibration != nullptr)
    {
        config->setInt8Calibrator(&ranges);
        if (sizes != nullptr && !config->setCalibrationProfile(sizes))
        {
            fail("TensorRT refuses the profile of calibration");
        }
    }
#endif

    std::unique_ptr<nvinfer1::ITimingCache> timing(
        config->createTimingCache(request.timing, static_cast<std::size_t>(request.timing_len)));
    if (request.timing != nullptr && (!timing || !config->setTimingCache(*timing, false)))
    {
        logger().log(nvinfer1::ILogger::Severity::kWARNING, "the timing cache is of another device or version, and not used");
        timing.reset(config->createTimingCache(nullptr, 0));
        if (timing)
        {
            config->setTimingCache(*timing, false);
        }
    }
    else if (timing && request.timing == nullptr)
    {
        config->setTimingCache(*timing, false);
    }

#if NV_TENSORRT_MAJOR >= 10
    Monitor monitor(request.progress, request.user);
    if (request.progress != nullptr)
    {
        config->setProgressMonitor(&monitor);
    }
#endif

    std::unique_ptr<nvinfer1::IHostMemory> plan(builder->buildSerializedNetwork(*network, *config));
#if NV_TENSORRT_MAJOR >= 10
    if (monitor.cancelled())
    {
        throw Cancelled();
    }
#endif
#if NV_TENSORRT_MAJOR < 11
    if (ranges.askedForImages())
    {
        fail("TensorRT does not take the calibration cache, and asks for images");
    }
#endif
    if (!plan)
    {
        fail("TensorRT cannot build an engine of this model");
    }
    built.plan = bytesOf(*plan);
    if (timing)
    {
        std::unique_ptr<nvinfer1::IHostMemory> memory(timing->serialize());
        if (memory)
        {
            built.timing = bytesOf(*memory);
        }
    }
}

} // namespace

int32_t oxidet_trt_build(oxidet_trt_request const* request, oxidet_trt_built** out)
{
    return guarded([&] {
        auto built = std::make_unique<oxidet_trt_built>();
        build(*request, *built);
        *out = built.release();
    });
}

oxidet_trt_bytes oxidet_trt_built_plan(oxidet_trt_built const* built)
{
    return {built->plan.data(), built->plan.size()};
}

oxidet_trt_bytes oxidet_trt_built_timing(oxidet_trt_built const* built)
{
    return {built->timing.data(), built->timing.size()};
}

void oxidet_trt_built_free(oxidet_trt_built* built)
{
    delete built;
}
