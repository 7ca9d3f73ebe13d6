// The builder of the fake.
#include "fake.h"

#include <cstdlib>

using namespace fake;

namespace
{

struct MemoryImpl : StubVHostMemory
{
    std::string bytes;
    void* data() const noexcept override { return const_cast<char*>(bytes.data()); }
    std::size_t size() const noexcept override { return bytes.size(); }
};

struct FakeMemory : IHostMemory, Counted
{
    MemoryImpl impl;
    explicit FakeMemory(std::string const& bytes)
    {
        impl.bytes = bytes;
        mImpl = &impl;
    }
};

struct TimingImpl : StubVTimingCache
{
    std::string bytes;
    IHostMemory* serialize() const noexcept override { return new FakeMemory(bytes); }
};

struct FakeTiming : ITimingCache, Counted
{
    TimingImpl impl;
    explicit FakeTiming(std::string const& bytes)
    {
        impl.bytes = bytes;
        mImpl = &impl;
    }
};

struct ProfileImpl : StubVOptimizationProfile
{
    int64_t batch[3] = {0, 0, 0};
#if NV_TENSORRT_MAJOR >= 10
    bool setDimensions(char const*, OptProfileSelector select, Dims const& dims) noexcept override
#else
    bool setDimensions(char const*, OptProfileSelector select, Dims dims) noexcept override
#endif
    {
        batch[static_cast<int32_t>(select)] = dims.d[0];
        return true;
    }
};

struct FakeProfile : IOptimizationProfile
{
    ProfileImpl impl;
    FakeProfile() { mImpl = &impl; }
};

struct ConfigImpl : StubVBuilderConfig
{
    uint32_t flags = 1U << static_cast<uint32_t>(BuilderFlag::kTF32);
    ProfileImpl const* profile = nullptr;
    ProfileImpl const* calibrationProfile = nullptr;
    size_t workspace = 0;
    int32_t dla = -1;
    bool defaultIsDla = false, detailed = false, sharing = false;
    mutable FakeTiming* timing = nullptr;

    void setFlag(BuilderFlag flag) noexcept override { flags |= 1U << static_cast<uint32_t>(flag); }
    void clearFlag(BuilderFlag flag) noexcept override { flags &= ~(1U << static_cast<uint32_t>(flag)); }
    bool has(BuilderFlag flag) const { return (flags >> static_cast<uint32_t>(flag) & 1U) != 0; }
    void setDLACore(int32_t core) noexcept override { dla = core; }
    void setDefaultDeviceType(DeviceType type) noexcept override { defaultIsDla = type == DeviceType::kDLA; }
    void setProfilingVerbosity(ProfilingVerbosity verbosity) noexcept override
    {
        detailed = verbosity == ProfilingVerbosity::kDETAILED;
    }
    void setMemoryPoolLimit(MemoryPoolType pool, std::size_t size) noexcept override
    {
        workspace = pool == MemoryPoolType::kWORKSPACE ? size : workspace;
    }
    int32_t addOptimizationProfile(IOptimizationProfile const* added) noexcept override
    {
        profile = &static_cast<FakeProfile const*>(added)->impl;
        return profile->batch[0] <= profile->batch[2] ? 0 : -1;
    }
    ITimingCache* createTimingCache(void const* blob, std::size_t size) const noexcept override
    {
        return new FakeTiming(size > 0 ? std::string(static_cast<char const*>(blob), size) : "");
    }
    bool setTimingCache(ITimingCache const& cache, bool) noexcept override
    {
        auto& given = const_cast<FakeTiming&>(static_cast<FakeTiming const&>(cache));
        std::string const mine = "TIMING " + std::to_string(getInferLibVersion());
        if (!given.impl.bytes.empty() && given.impl.bytes.compare(0, mine.size(), mine) != 0)
        {
            return false;
        }
        timing = &given;
        return true;
    }
#if NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR >= 6
    void setPreviewFeature(PreviewFeature feature, bool enable) noexcept override
    {
        sharing = enable && feature == PreviewFeature::kPROFILE_SHARING_0806;
    }
#endif
#if NV_TENSORRT_MAJOR >= 10
    IProgressMonitor* monitor = nullptr;
    void setProgressMonitor(IProgressMonitor* given) noexcept override { monitor = given; }
#endif
#if NV_TENSORRT_MAJOR < 11
    IInt8Calibrator* calibrator = nullptr;
    void setInt8Calibrator(IInt8Calibrator* given) noexcept override { calibrator = given; }
    bool setCalibrationProfile(IOptimizationProfile const* given) noexcept override
    {
        calibrationProfile = &static_cast<FakeProfile const*>(given)->impl;
        return true;
    }
#endif
};

struct FakeConfig : IBuilderConfig, Counted
{
    ConfigImpl impl;
    FakeConfig() { mImpl = &impl; }
};

struct BuilderImpl : StubVBuilder
{
    std::vector<std::unique_ptr<FakeProfile>> profiles;
    FakeNetwork* network = nullptr;

    INetworkDefinition* createNetworkV2(NetworkDefinitionCreationFlags flags) noexcept override
    {
        network = new FakeNetwork;
#if NV_TENSORRT_MAJOR >= 10
        network->impl.stronglyTyped
            = NV_TENSORRT_MAJOR > 10 || (flags >> static_cast<uint32_t>(NetworkDefinitionCreationFlag::kSTRONGLY_TYPED) & 1U) != 0;
#else
        if ((flags & 1U << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kEXPLICIT_BATCH)) == 0)
        {
            std::abort();
        }
#endif
        return network;
    }
    IBuilderConfig* createBuilderConfig() noexcept override { return new FakeConfig; }
    IOptimizationProfile* createOptimizationProfile() noexcept override
    {
        profiles.push_back(std::make_unique<FakeProfile>());
        return profiles.back().get();
    }
    int32_t getNbDLACores() const noexcept override { return network->impl.text.dlaCores; }
#if NV_TENSORRT_MAJOR < 11
    bool platformHasFastFp16() const noexcept override { return network->impl.text.slow != "fp16"; }
    bool platformHasFastInt8() const noexcept override { return network->impl.text.slow != "int8"; }
#endif
    IHostMemory* buildSerializedNetwork(INetworkDefinition& network, IBuilderConfig& config) noexcept override
    {
        return build(static_cast<FakeNetwork&>(network).impl, static_cast<FakeConfig&>(config).impl);
    }

    static bool calibrated(NetworkImpl const& network, ConfigImpl const& config, std::ostringstream& plan)
    {
#if NV_TENSORRT_MAJOR < 11
        if (config.calibrator != nullptr)
        {
            size_t len = 0;
            auto const* text = static_cast<char const*>(config.calibrator->readCalibrationCache(len));
            std::string const cache(text, len), header = "TRT-" + std::to_string(getInferLibVersion()) + "-EntropyCalibration2\n";
            if (network.text.failures.count("calibration") > 0 || cache.compare(0, header.size(), header) != 0)
            {
                config.calibrator->getBatch(nullptr, nullptr, 0);
                say(ILogger::Severity::kERROR, "Calibration failure occurred with no scaling factors detected.");
                return false;
            }
            plan << "calibrated " << len << "\n";
        }
#endif
        return true;
    }

    static bool watched(ConfigImpl const& config)
    {
#if NV_TENSORRT_MAJOR >= 10
        if (config.monitor != nullptr)
        {
            config.monitor->phaseStart("Building Engine", nullptr, 3);
            config.monitor->phaseStart("Tactics", "Building Engine", 2);
            bool go = config.monitor->stepComplete("Tactics", 0) && config.monitor->stepComplete("Tactics", 1);
            config.monitor->phaseFinish("Tactics");
            for (int32_t step = 0; go && step < 3; ++step)
            {
                go = config.monitor->stepComplete("Building Engine", step);
            }
            config.monitor->phaseFinish("Building Engine");
            return go;
        }
#endif
        return true;
    }

    static IHostMemory* build(NetworkImpl const& network, ConfigImpl const& config)
    {
        say(ILogger::Severity::kINFO, "building");
        if (fails(network.text, "build"))
        {
            return nullptr;
        }
        std::ostringstream plan;
        plan << "FAKEPLAN " << getInferLibVersion() << "\n" << network.text.all;
        if (!calibrated(network, config, plan) || !watched(config))
        {
            return nullptr;
        }
        if (config.profile != nullptr)
        {
            plan << "profile " << config.profile->batch[0] << " " << config.profile->batch[1] << " " << config.profile->batch[2] << "\n";
        }
        if (config.calibrationProfile != nullptr) { plan << "calibration profile\n"; }
        if (config.workspace != 0) { plan << "workspace " << config.workspace << "\n"; }
        if (config.dla >= 0)
        {
            plan << "on dla " << config.dla << (config.defaultIsDla ? " default" : "")
                 << (config.has(BuilderFlag::kGPU_FALLBACK) ? " fallback" : "") << "\n";
        }
        if (config.detailed) { plan << "detailed\n"; }
        if (config.sharing) { plan << "sharing profiles\n"; }
        if (network.stronglyTyped) { plan << "strongly typed\n"; }
        if (!config.has(BuilderFlag::kTF32)) { plan << "no tf32\n"; }
#if NV_TENSORRT_MAJOR < 11
        if (config.has(BuilderFlag::kFP16)) { plan << "flag fp16\n"; }
        if (config.has(BuilderFlag::kINT8)) { plan << "flag int8\n"; }
        if (config.has(BuilderFlag::kOBEY_PRECISION_CONSTRAINTS)) { plan << "flag obey\n"; }
        if (config.has(BuilderFlag::kPREFER_PRECISION_CONSTRAINTS)) { plan << "flag prefer\n"; }
        for (auto const& layer : network.layers)
        {
            if (!layer->impl.precision.empty())
            {
                plan << "precision " << layer->impl.name << " " << layer->impl.precision << " " << layer->impl.outputType << "\n";
            }
        }
#endif
        if (config.timing != nullptr)
        {
            plan << "timing " << config.timing->impl.bytes.size() << "\n";
            config.timing->impl.bytes = "TIMING " + std::to_string(getInferLibVersion()) + " " + network.text.all;
        }
        return new FakeMemory(plan.str());
    }
};

struct FakeBuilder : IBuilder, Counted
{
    BuilderImpl impl;
    FakeBuilder() { mImpl = &impl; }
};

} // namespace

extern "C" void* createInferBuilder_INTERNAL(void* logger, int32_t) noexcept
{
    theLogger = static_cast<ILogger*>(logger);
    return static_cast<IBuilder*>(new FakeBuilder);
}
