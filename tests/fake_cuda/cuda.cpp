// CUDA's driver as far as oxidet calls it, with one GPU whose memory is the host's. Streams do at once what they are told, unless they record it.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <atomic>
#include <cstring>
#include <functional>
#include <vector>

using Work = std::vector<std::function<void()>>;

namespace
{
constexpr int kOk = 0, kInvalid = 1, kOutOfMemory = 2;
constexpr size_t kMemory = size_t{1} << 30;
constexpr int kMajor = 75, kMinor = 76;

thread_local void* current = nullptr;
int context = 0;

// The stream that this thread records, and what.
thread_local void* recording = nullptr;
thread_local Work recorded;
std::atomic<bool> refuses{false};
std::atomic<int> launches{0};

int queue(void* stream, std::function<void()> work)
{
    if (stream == recording)
    {
        recorded.push_back(std::move(work));
    }
    else
    {
        work();
    }
    return kOk;
}
} // namespace

extern "C"
{
int cuInit(unsigned)
{
    return kOk;
}

int cuDeviceGetCount(int* count)
{
    *count = 1;
    return kOk;
}

int cuDeviceGet(int* device, int ordinal)
{
    *device = ordinal;
    return ordinal == 0 ? kOk : kInvalid;
}

int cuDeviceGetName(char* name, int room, int)
{
    std::snprintf(name, static_cast<size_t>(room), "Fake");
    return kOk;
}

int cuDeviceGetAttribute(int* value, int attribute, int)
{
    *value = attribute == kMajor ? 8 : attribute == kMinor ? 7 : 0;
    return kOk;
}

int cuDevicePrimaryCtxRetain(void** made, int)
{
    *made = &context;
    return kOk;
}

int cuDevicePrimaryCtxRelease_v2(int)
{
    return kOk;
}

int cuCtxGetCurrent(void** now)
{
    *now = current;
    return kOk;
}

int cuCtxSetCurrent(void* next)
{
    current = next;
    return kOk;
}

int cuCtxSynchronize()
{
    return current == nullptr ? kInvalid : kOk;
}

int cuStreamCreate(void** stream, unsigned)
{
    *stream = std::malloc(1);
    return kOk;
}

int cuStreamDestroy_v2(void* stream)
{
    std::free(stream);
    return kOk;
}

int cuStreamSynchronize(void*)
{
    return current == nullptr ? kInvalid : kOk;
}

int cuMemAlloc_v2(uint64_t* address, size_t bytes)
{
    if (current == nullptr)
    {
        return kInvalid;
    }
    if (bytes > kMemory)
    {
        return kOutOfMemory;
    }
    void* const memory = std::malloc(bytes);
    // What is not written is seen.
    std::memset(memory, 0xff, bytes);
    *address = reinterpret_cast<uint64_t>(memory);
    return kOk;
}

int cuMemFree_v2(uint64_t address)
{
    std::free(reinterpret_cast<void*>(address));
    return kOk;
}

int cuMemHostAlloc(void** address, size_t bytes, unsigned)
{
    *address = std::malloc(bytes);
    return kOk;
}

int cuMemFreeHost(void* address)
{
    std::free(address);
    return kOk;
}

int cuMemcpyHtoDAsync_v2(uint64_t to, void const* from, size_t bytes, void* stream)
{
    return queue(stream, [=] { std::memcpy(reinterpret_cast<void*>(to), from, bytes); });
}

int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void* stream)
{
    return queue(stream, [=] { std::memcpy(to, reinterpret_cast<void*>(from), bytes); });
}

int cuLaunchHostFunc(void* stream, void (*work)(void*), void* data)
{
    return queue(stream, [=] { work(data); });
}

int cuStreamBeginCapture_v2(void* stream, int)
{
    if (refuses)
    {
        return kInvalid;
    }
    recording = stream;
    recorded.clear();
    return kOk;
}

int cuStreamEndCapture(void*, void** graph)
{
    recording = nullptr;
    *graph = new Work(std::move(recorded));
    return kOk;
}

int cuGraphInstantiateWithFlags(void** made, void* graph, unsigned long long)
{
    *made = new Work(*static_cast<Work*>(graph));
    return kOk;
}

int cuGraphLaunch(void* made, void*)
{
    ++launches;
    for (auto const& work : *static_cast<Work*>(made))
    {
        work();
    }
    return kOk;
}

int cuGraphDestroy(void* graph)
{
    delete static_cast<Work*>(graph);
    return kOk;
}

int cuGraphExecDestroy(void* made)
{
    return cuGraphDestroy(made);
}

// For tests: how many graphs were launched, and whether none are made from now on.
int fake_graph_launches()
{
    return launches;
}

void fake_refuse_graphs(int refuse)
{
    refuses = refuse != 0;
}

int cuGetErrorString(int error, char const** text)
{
    *text = error == kOutOfMemory ? "out of memory" : error == kOk ? "no error" : "invalid argument";
    return kOk;
}

int cuGetErrorName(int error, char const** text)
{
    return cuGetErrorString(error, text);
}
}
