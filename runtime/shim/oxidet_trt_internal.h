// What the parts of the shim share: TensorRT's log, failures, shapes in words.
#ifndef OXIDET_TRT_INTERNAL_H
#define OXIDET_TRT_INTERNAL_H

#include "oxidet_trt.h"

#include <NvInfer.h>

#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

// Version 10 deprecates what only 11 has something else for.
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
#endif

#if NV_TENSORRT_MAJOR < 8 || (NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR < 5)
#error "TensorRT 8.5 or later is needed: tensors have no names in the interface of earlier versions"
#endif

namespace oxidet_trt
{

//! TensorRT explains its failures only here. The last errors are kept with their thread, for whoever called it.
class Log : public nvinfer1::ILogger
{
public:
    void log(Severity severity, nvinfer1::AsciiChar const* text) noexcept override
    {
        try
        {
            {
                std::lock_guard<std::mutex> lock(mErrorsMutex);
                if (severity <= Severity::kERROR)
                {
                    mErrors.push_back({std::this_thread::get_id(), ++mCount, text});
                    if (mErrors.size() > 64)
                    {
                        mErrors.pop_front();
                    }
                }
            }
            // Of its own, so that a listener that is slow does not hold up who asks for errors.
            std::lock_guard<std::mutex> lock(mListenerMutex);
            if (mListener != nullptr)
            {
                mListener(mUser, static_cast<int32_t>(severity), text);
            }
        }
        catch (...)
        {
        }
    }

    void listen(oxidet_trt_log listener, void* user)
    {
        std::lock_guard<std::mutex> lock(mListenerMutex);
        mListener = listener;
        mUser = user;
    }

    uint64_t count()
    {
        std::lock_guard<std::mutex> lock(mErrorsMutex);
        return mCount;
    }

    //! Errors since a count: those of this thread, or if there are none, those of the threads that TensorRT may have started.
    std::string since(uint64_t count)
    {
        std::lock_guard<std::mutex> lock(mErrorsMutex);
        std::string own, all;
        for (Error const& error : mErrors)
        {
            if (error.number > count)
            {
                append(all, error.text);
                if (error.thread == std::this_thread::get_id())
                {
                    append(own, error.text);
                }
            }
        }
        return own.empty() ? all : own;
    }

private:
    struct Error
    {
        std::thread::id thread;
        uint64_t number;
        std::string text;
    };

    static void append(std::string& list, std::string const& text)
    {
        list += list.empty() ? text : "; " + text;
    }

    std::mutex mErrorsMutex;
    std::deque<Error> mErrors;
    uint64_t mCount = 0;
    std::mutex mListenerMutex;
    oxidet_trt_log mListener = nullptr;
    void* mUser = nullptr;
};

//! The one of this shim. Never destroyed: TensorRT logs until the very end of the process.
Log& logger();

//! Of this thread.
std::string& lastError();

struct Cancelled
{
};

[[noreturn]] inline void fail(std::string const& what)
{
    throw std::runtime_error(what);
}

//! Runs what a function of the interface does; what it throws becomes its status and text.
template <class Function>
int32_t guarded(Function function) noexcept
{
    try
    {
        lastError().clear();
        uint64_t const count = logger().count();
        try
        {
            function();
            return OXIDET_TRT_OK;
        }
        catch (Cancelled const&)
        {
            lastError() = "cancelled";
            return OXIDET_TRT_CANCELLED;
        }
        catch (std::exception const& error)
        {
            lastError() = error.what();
            std::string const said = logger().since(count);
            if (!said.empty())
            {
                lastError() += ": " + said;
            }
        }
    }
    catch (...)
    {
        // Without memory for a text there is none.
    }
    return OXIDET_TRT_FAILED;
}

inline std::string text(nvinfer1::Dims const& dims)
{
    std::string list;
    for (int32_t axis = 0; axis < dims.nbDims; ++axis)
    {
        list += (axis == 0 ? "" : "x") + std::to_string(dims.d[axis]);
    }
    return list;
}

} // namespace oxidet_trt

#endif
