// A TensorRT that computes nothing. A model says in its metadata, as lines of text, what is in it and what goes wrong with it; a plan
// is the text of a model and of what was asked of the builder, so that tests can read it.
//
//   input NAME DIM...           the batch may be -1
//   output NAME TYPE DIM...     float, half, int32 or int64
//   layer NAME KIND             convolution or other
//   data NAME NUMBER...         what an output holds, over and over; of an output without, what the input does
//   dla CORES                   accelerators of the device
//   slow fp16|int8              what the device does not compute fast
//   fail WHERE TEXT...          parse NODE, build, calibration, open, context, enqueue
#pragma once

#include "stubs.h"

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

namespace fake
{

extern std::atomic<int32_t> liveObjects;

//! Counts what the shim must free.
struct Counted
{
    Counted() { ++liveObjects; }
    ~Counted() { --liveObjects; }
};

inline Dims dims(std::vector<int64_t> const& sizes)
{
    Dims dims{};
    dims.nbDims = static_cast<int32_t>(sizes.size());
    for (size_t axis = 0; axis < sizes.size(); ++axis)
    {
        dims.d[axis] = static_cast<std::remove_reference_t<decltype(dims.d[0])>>(sizes[axis]);
    }
    return dims;
}

struct Tensor
{
    std::string name;
    std::string type = "float";
    std::vector<int64_t> sizes;

    DataType dataType() const
    {
#if NV_TENSORRT_MAJOR >= 10
        if (type == "int64") { return DataType::kINT64; }
#endif
        return type == "half" ? DataType::kHALF : type == "int32" ? DataType::kINT32 : DataType::kFLOAT;
    }
};

struct Text
{
    std::vector<Tensor> inputs, outputs;
    std::vector<std::pair<std::string, std::string>> layers;
    std::map<std::string, std::vector<float>> data;
    std::map<std::string, std::string> failures;
    std::string all;
    int32_t dlaCores = 0;
    std::string slow;
    int64_t min = 0, opt = 0, max = 0;

    explicit Text(std::string const& text)
        : all(text)
    {
        std::istringstream lines(text);
        for (std::string line; std::getline(lines, line);)
        {
            std::istringstream words(line);
            std::string what, name;
            words >> what;
            if (what == "input" || what == "output")
            {
                Tensor tensor;
                words >> tensor.name;
                if (what == "output") { words >> tensor.type; }
                for (int64_t size; words >> size;) { tensor.sizes.push_back(size); }
                (what == "input" ? inputs : outputs).push_back(tensor);
            }
            else if (what == "layer")
            {
                std::string kind;
                words >> name >> kind;
                layers.emplace_back(name, kind);
            }
            else if (what == "data")
            {
                words >> name;
                for (float number; words >> number;) { data[name].push_back(number); }
            }
            else if (what == "fail")
            {
                words >> name;
                std::getline(words >> std::ws, failures[name]);
            }
            else if (what == "dla") { words >> dlaCores; }
            else if (what == "slow") { words >> slow; }
            else if (what == "profile") { words >> min >> opt >> max; }
        }
    }

    Tensor const* find(std::string const& name) const
    {
        for (auto const* list : {&inputs, &outputs})
        {
            for (Tensor const& tensor : *list)
            {
                if (tensor.name == name) { return &tensor; }
            }
        }
        return nullptr;
    }
};

extern ILogger* theLogger;
void say(ILogger::Severity severity, std::string const& text);
//! Whether the text asks for a failure there; says why.
bool fails(Text const& text, char const* where);

// What the parser fills and the builder reads.

struct TensorImpl : StubVTensor
{
    Tensor tensor;
    char const* getName() const noexcept override { return tensor.name.c_str(); }
    Dims getDimensions() const noexcept override { return dims(tensor.sizes); }
    DataType getType() const noexcept override { return tensor.dataType(); }
};

struct FakeTensor : ITensor
{
    TensorImpl impl;
    explicit FakeTensor(Tensor const& tensor)
    {
        impl.tensor = tensor;
        mImpl = &impl;
    }
};

struct LayerImpl : StubVLayer
{
    std::string name, kind, precision, outputType;
    FakeTensor* output = nullptr;

    static std::string word(DataType type)
    {
        return type == DataType::kHALF ? "half" : type == DataType::kINT8 ? "int8" : "float";
    }

    LayerType getType() const noexcept override
    {
        return kind == "convolution" ? LayerType::kCONVOLUTION : LayerType::kACTIVATION;
    }
    char const* getName() const noexcept override { return name.c_str(); }
    int32_t getNbOutputs() const noexcept override { return 1; }
    ITensor* getOutput(int32_t) const noexcept override { return output; }
#if NV_TENSORRT_MAJOR < 11
    void setPrecision(DataType type) noexcept override { precision = word(type); }
    void setOutputType(int32_t, DataType type) noexcept override { outputType = word(type); }
#endif
};

struct FakeLayer : ILayer
{
    LayerImpl impl;
    FakeTensor output;
    FakeLayer(std::string const& name, std::string const& kind)
        : output(Tensor{name, "float", {1}})
    {
        impl.name = name;
        impl.kind = kind;
        impl.output = &output;
        mLayer = &impl;
    }
};

struct NetworkImpl : StubVNetworkDefinition
{
    Text text{""};
    std::vector<std::unique_ptr<FakeTensor>> inputs;
    std::vector<std::unique_ptr<FakeLayer>> layers;
    bool stronglyTyped = false;

    int32_t getNbInputs() const noexcept override { return static_cast<int32_t>(inputs.size()); }
    ITensor* getInput(int32_t index) const noexcept override { return inputs[static_cast<size_t>(index)].get(); }
    int32_t getNbLayers() const noexcept override { return static_cast<int32_t>(layers.size()); }
    ILayer* getLayer(int32_t index) const noexcept override { return layers[static_cast<size_t>(index)].get(); }

    void fill(Text const& from)
    {
        text = from;
        for (Tensor const& input : from.inputs) { inputs.push_back(std::make_unique<FakeTensor>(input)); }
        for (auto const& layer : from.layers) { layers.push_back(std::make_unique<FakeLayer>(layer.first, layer.second)); }
    }
};

struct FakeNetwork : INetworkDefinition, Counted
{
    NetworkImpl impl;
    FakeNetwork() { mImpl = &impl; }
};

} // namespace fake
