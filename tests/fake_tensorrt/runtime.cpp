// The runtime of the fake, and what it shares with the builder.
#include "fake.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

using namespace fake;

std::atomic<int32_t> fake::liveObjects{0};
ILogger* fake::theLogger = nullptr;

[[noreturn]] void unexpected(char const* function)
{
    std::fprintf(stderr, "the fake TensorRT has no %s\n", function);
    std::abort();
}

void fake::say(ILogger::Severity severity, std::string const& text)
{
    theLogger->log(severity, text.c_str());
}

bool fake::fails(Text const& text, char const* where)
{
    auto const failure = text.failures.find(where);
    if (failure == text.failures.end())
    {
        return false;
    }
    say(ILogger::Severity::kERROR, failure->second);
    return true;
}

namespace
{

using HostFunction = int (*)(void* stream, void (*work)(void*), void* data);

// That of the driver, in a process that has one.
HostFunction hostFunction()
{
    void* const driver = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_LAZY);
    return driver == nullptr ? nullptr : reinterpret_cast<HostFunction>(dlsym(driver, "cuLaunchHostFunc"));
}

struct ContextImpl : StubVExecutionContext
{
    Text const* text = nullptr;
    int32_t profile = 0;
    std::map<std::string, std::vector<int64_t>> shapes;
    std::map<std::string, void*> addresses;

    int32_t getOptimizationProfile() const noexcept override { return profile; }
    bool setInputShape(char const* name, Dims const& given) noexcept override
    {
        Tensor const* tensor = text->find(name);
        std::vector<int64_t> const sizes(given.d, given.d + given.nbDims);
        bool fits = tensor != nullptr && sizes.size() == tensor->sizes.size();
        for (size_t axis = 0; fits && axis < sizes.size(); ++axis)
        {
            fits = tensor->sizes[axis] == -1 ? sizes[axis] >= text->min && sizes[axis] <= text->max : sizes[axis] == tensor->sizes[axis];
        }
        if (!fits)
        {
            say(ILogger::Severity::kERROR, "IExecutionContext::setInputShape: Error Code 3: dimensions out of range");
            return false;
        }
        shapes[name] = sizes;
        return true;
    }
    std::vector<int64_t> shape(Tensor const& tensor) const
    {
        auto sizes = tensor.sizes;
        auto const input = shapes.find(text->inputs[0].name);
        if (!sizes.empty() && sizes[0] == -1 && input != shapes.end()) { sizes[0] = input->second[0]; }
        return sizes;
    }
    Dims getTensorShape(char const* name) const noexcept override
    {
        Tensor const* tensor = text->find(name);
        Dims none{};
        none.nbDims = -1;
        return tensor == nullptr ? none : dims(shape(*tensor));
    }
    bool setTensorAddress(char const* name, void* address) noexcept override
    {
        if (text->find(name) == nullptr)
        {
            say(ILogger::Severity::kERROR, std::string("no tensor ") + name);
            return false;
        }
        addresses[name] = address;
        return true;
    }
    static size_t count(std::vector<int64_t> const& sizes)
    {
        size_t count = 1;
        for (int64_t size : sizes) { count *= static_cast<size_t>(size); }
        return count;
    }
    bool enqueueV3(cudaStream_t stream) noexcept override
    {
        if (fails(*text, "enqueue"))
        {
            return false;
        }
        Tensor const& input = text->inputs[0];
        if (stream == nullptr || addresses[input.name] == nullptr)
        {
            say(ILogger::Severity::kERROR, "no stream or no input");
            return false;
        }
        // What a stream records is done when it is told to.
        if (auto const launch = hostFunction())
        {
            return launch(stream, [](void* self) { static_cast<ContextImpl*>(self)->compute(); }, this) == 0;
        }
        compute();
        return true;
    }
    void compute()
    {
        Tensor const& input = text->inputs[0];
        auto const* from = static_cast<float const*>(addresses[input.name]);
        auto const sizes = shape(input);
        size_t const images = static_cast<size_t>(sizes[0]), len = count(sizes) / images;
        for (Tensor const& output : text->outputs)
        {
            size_t const values = count(shape(output)), each = values / images;
            auto const data = text->data.find(output.name);
            for (size_t at = 0; at < values; ++at)
            {
                float const value = data != text->data.end() ? data->second[at % data->second.size()] : from[at / each * len + at % each % len];
                void* const to = addresses[output.name];
                if (output.type == "int32") { static_cast<int32_t*>(to)[at] = static_cast<int32_t>(value); }
                else if (output.type == "int64") { static_cast<int64_t*>(to)[at] = static_cast<int64_t>(value); }
                else { static_cast<float*>(to)[at] = value; }
            }
        }
    }
};

struct FakeContext : IExecutionContext, Counted
{
    ContextImpl impl;
    std::atomic<int32_t>& contexts;
    explicit FakeContext(std::atomic<int32_t>& contexts)
        : contexts(contexts)
    {
        mImpl = &impl;
    }
    ~FakeContext() noexcept override { --contexts; }
};

struct InspectorImpl : StubVEngineInspector
{
    std::string text;
    char const* getEngineInformation(LayerInformationFormat) const noexcept override { return text.c_str(); }
};

struct FakeInspector : IEngineInspector, Counted
{
    InspectorImpl impl;
    FakeInspector() { mImpl = &impl; }
};

struct EngineImpl : StubVCudaEngine
{
    Text text;
    mutable std::atomic<int32_t> contexts{0};
    explicit EngineImpl(Text const& text)
        : text(text)
    {
    }

    int32_t getNbIOTensors() const noexcept override { return static_cast<int32_t>(text.inputs.size() + text.outputs.size()); }
    Tensor const* at(int32_t index) const
    {
        size_t const place = static_cast<size_t>(index);
        return place < text.inputs.size() ? &text.inputs[place]
            : place < text.inputs.size() + text.outputs.size() ? &text.outputs[place - text.inputs.size()]
                                                               : nullptr;
    }
    char const* getIOTensorName(int32_t index) const noexcept override
    {
        return at(index) == nullptr ? nullptr : at(index)->name.c_str();
    }
    Dims getTensorShape(char const* name) const noexcept override { return dims(text.find(name)->sizes); }
    DataType getTensorDataType(char const* name) const noexcept override { return text.find(name)->dataType(); }
    TensorIOMode getTensorIOMode(char const* name) const noexcept override
    {
        for (Tensor const& input : text.inputs)
        {
            if (input.name == name) { return TensorIOMode::kINPUT; }
        }
        return TensorIOMode::kOUTPUT;
    }
    int32_t getNbOptimizationProfiles() const noexcept override { return 1; }
    Dims getProfileShape(char const* name, int32_t, OptProfileSelector select) const noexcept override
    {
        auto sizes = text.find(name)->sizes;
        int64_t const batch[] = {text.min, text.opt, text.max};
        if (sizes[0] == -1) { sizes[0] = batch[static_cast<int32_t>(select)]; }
        return dims(sizes);
    }
    IEngineInspector* createEngineInspector() const noexcept override
    {
        auto* inspector = new FakeInspector;
        inspector->impl.text = "{\"Layers\": [\"fake\"]}";
        return inspector;
    }
#if NV_TENSORRT_MAJOR >= 10
    IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy) noexcept override
#else
    IExecutionContext* createExecutionContext() noexcept override
#endif
    {
        if (fails(text, "context"))
        {
            return nullptr;
        }
        auto* context = new FakeContext(contexts);
        context->impl.text = &text;
#if NV_TENSORRT_MAJOR == 8
        bool const shares = text.all.find("sharing profiles") != std::string::npos;
#else
        bool const shares = true;
#endif
        context->impl.profile = contexts++ == 0 || shares ? 0 : -1;
        return context;
    }
};

struct FakeEngine : ICudaEngine, Counted
{
    EngineImpl impl;
    explicit FakeEngine(Text const& text)
        : impl(text)
    {
        mImpl = &impl;
    }
};

struct RuntimeImpl : StubVRuntime
{
    int32_t dla = -1;
    void setDLACore(int32_t core) noexcept override { dla = core; }
#if NV_TENSORRT_MAJOR >= 10
    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept override
#else
    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size, IPluginFactory*) noexcept override
#endif
    {
        std::string const plan(static_cast<char const*>(blob), size), mine = "FAKEPLAN " + std::to_string(getInferLibVersion()) + "\n";
        if (plan.compare(0, mine.size(), mine) != 0)
        {
            say(ILogger::Severity::kERROR, "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (version tag does not match)");
            return nullptr;
        }
        Text const text(plan);
        bool const ofDla = plan.find("\non dla ") != std::string::npos;
        if (fails(text, "open"))
        {
            return nullptr;
        }
        if (ofDla && dla < 0)
        {
            say(ILogger::Severity::kERROR, "no DLA core is chosen");
            return nullptr;
        }
        return new FakeEngine(text);
    }
};

struct FakeRuntime : IRuntime, Counted
{
    RuntimeImpl impl;
    FakeRuntime() { mImpl = &impl; }
};

struct Registry : StubIPluginRegistry
{
#if NV_TENSORRT_MAJOR > 8 || NV_TENSORRT_MINOR >= 6
    bool loaded = false;
    PluginLibraryHandle loadLibrary(AsciiChar const* path) noexcept override
    {
        // As TensorRT: plugins are registered once.
        bool const again = loaded;
        loaded = true;
        return again ? nullptr : const_cast<char*>(path);
    }
#endif
};

} // namespace

extern "C" void* createInferRuntime_INTERNAL(void* logger, int32_t) noexcept
{
    theLogger = static_cast<ILogger*>(logger);
    return static_cast<IRuntime*>(new FakeRuntime);
}

extern "C" IPluginRegistry* getPluginRegistry() noexcept
{
    static Registry registry;
    return &registry;
}

extern "C" int32_t fake_live_objects() noexcept
{
    return liveObjects;
}
