#include "fake.h"

using namespace fake;

namespace
{

struct Error : IParserError
{
    std::string text;
    int index = 0;
    nvonnxparser::ErrorCode code() const override { return nvonnxparser::ErrorCode::kUNSUPPORTED_NODE; }
    char const* desc() const override { return text.c_str(); }
    char const* file() const override { return "fake.cpp"; }
    int line() const override { return 1; }
    char const* func() const override { return "parse"; }
    int node() const override { return index; }
#if NV_TENSORRT_MAJOR >= 10
    std::string name;
    char const* nodeName() const override { return name.c_str(); }
    char const* nodeOperator() const override { return "Op"; }
    char const* const* localFunctionStack() const override { return nullptr; }
    int32_t localFunctionStackSize() const override { return 0; }
#endif
};

struct Parser : StubIParser, Counted
{
    FakeNetwork& network;
    std::vector<Error> errors;

    explicit Parser(FakeNetwork& network)
        : network(network)
    {
    }

#if NV_TENSORRT_MAJOR >= 10
#define NOEXCEPT noexcept
#else
#define NOEXCEPT
#endif
    bool parse(void const* model, size_t len, char const*) NOEXCEPT override
    {
        std::string const bytes(static_cast<char const*>(model), len), begins = "[fake]\n", ends = "[end]";
        size_t const from = bytes.find(begins), to = bytes.find(ends);
        if (from == std::string::npos || to == std::string::npos)
        {
            Error error;
            error.text = "this is no model of the tests";
            error.index = -1;
            errors.push_back(error);
            return false;
        }
        Text const text(bytes.substr(from + begins.size(), to - from - begins.size()));
        auto const failure = text.failures.find("parse");
        if (failure != text.failures.end())
        {
            std::istringstream words(failure->second);
            Error error;
            words >> error.index;
            std::getline(words >> std::ws, error.text);
            errors.push_back(error);
            return false;
        }
        network.impl.fill(text);
        return true;
    }

    int getNbErrors() const NOEXCEPT override { return static_cast<int>(errors.size()); }
    IParserError const* getError(int index) const NOEXCEPT override { return &errors[static_cast<size_t>(index)]; }
};

} // namespace

extern "C" void* createNvOnnxParser_INTERNAL(void* network, void*, int) noexcept
{
    return static_cast<IParser*>(new Parser(*static_cast<FakeNetwork*>(static_cast<INetworkDefinition*>(network))));
}

extern "C" int getNvOnnxParserVersion() noexcept
{
    return NV_ONNX_PARSER_VERSION;
}
