/* The functions that oxidet calls TensorRT through.
 *
 * TensorRT's own interface is C++ virtual tables, which change with every major version. This one is C and does not: it is compiled on
 * the device against the headers installed there (`oxidet tensorrt build-shim`), opened at run time, and asked for its versions first.
 *
 * Every function that returns int32_t returns a status; the text of a failure is oxidet_trt_last_error() of the same thread. No
 * exception crosses. Pointers into a handle live as long as the handle. Strings are UTF-8 and end with a zero. A plan holds code: opening one is
 * running a program.
 *
 * runtime/src/backend/tensorrt/abi.rs says the same in Rust; a change of either is a new OXIDET_TRT_ABI.
 */
#ifndef OXIDET_TRT_H
#define OXIDET_TRT_H

#include <stdint.h>

#define OXIDET_TRT_ABI 1u

#ifdef __cplusplus
extern "C" {
#endif

enum { OXIDET_TRT_OK = 0, OXIDET_TRT_FAILED = 1, OXIDET_TRT_CANCELLED = 2 };

/* ---- versions, errors, log ---- */

/* Compiled against TensorRT major, minor, patch; running with major, minor, patch. */
typedef struct oxidet_trt_versions {
    int32_t compiled[3];
    int32_t loaded[3];
} oxidet_trt_versions;

uint32_t oxidet_trt_abi(void);
void oxidet_trt_get_versions(oxidet_trt_versions* out);

/* Of the last call of this thread that failed; valid until its next call. */
char const* oxidet_trt_last_error(void);

/* severity: 0 internal error, 1 error, 2 warning, 3 information, 4 verbose. May be called from any thread. */
typedef void (*oxidet_trt_log)(void* user, int32_t severity, char const* text);

/* What TensorRT says from now on goes there; NULL: nowhere. There is one logger in a process, as in TensorRT. When this returns, the
 * one before is not running and is not called again; so a listener must not call this. */
void oxidet_trt_set_log(oxidet_trt_log log, void* user);

/* ---- plugins ---- */

/* Registers the plugins that come with TensorRT. */
int32_t oxidet_trt_init_plugins(void);
/* Opens a library with more of them. */
int32_t oxidet_trt_load_plugins(char const* path);

/* ---- building ---- */

enum {
    OXIDET_TRT_FP16 = 1 << 0,           /* layers may compute in half precision; TensorRT < 11 */
    OXIDET_TRT_INT8 = 1 << 1,           /* layers may compute in INT8; TensorRT < 11 */
    OXIDET_TRT_STRONGLY_TYPED = 1 << 2, /* layers compute in what the model says; TensorRT >= 10, and always from 11 on */
    OXIDET_TRT_OBEY = 1 << 3,           /* a layer whose precision is set and cannot be had is an error; TensorRT < 11 */
    OXIDET_TRT_NO_TF32 = 1 << 4         /* single precision is not shortened to 19 bits */
};

/* The numbers of tensors; others are OXIDET_TRT_OTHER. */
enum {
    OXIDET_TRT_FLOAT = 0,
    OXIDET_TRT_HALF = 1,
    OXIDET_TRT_INT8_TENSOR = 2,
    OXIDET_TRT_INT32 = 3,
    OXIDET_TRT_INT64 = 4,
    OXIDET_TRT_OTHER = -1
};

enum { OXIDET_TRT_PHASE_BEGINS = 0, OXIDET_TRT_STEP_DONE = 1, OXIDET_TRT_PHASE_ENDS = 2 };

/* value: steps of a phase that begins, the step that is done. parent: the phase it is part of, or NULL. A call that returns other than
 * zero cancels the build, at its next step. May be called from several threads at once. TensorRT before 10 calls nothing. */
typedef int32_t (*oxidet_trt_progress)(void* user, int32_t event, char const* phase, char const* parent, int32_t value);

typedef struct oxidet_trt_request {
    void const* onnx;
    uint64_t onnx_len;
    /* Names of the nodes, for the errors of parsers that only count. */
    char const* const* node_names;
    uint64_t nodes;
    /* Images, if the model's batch is not fixed. */
    int64_t min, opt, max;
    uint32_t flags;
    /* Accelerator, or -1. */
    int32_t dla_core;
    /* Bytes; 0 leaves it to TensorRT. */
    uint64_t workspace;
    /* Text of a calibration cache, or NULL. */
    void const* calibration;
    uint64_t calibration_len;
    /* Layers that compute in float_type: those of these names and those whose names go on with a slash. */
    char const* const* float_layers;
    uint64_t n_float_layers;
    int32_t float_type;
    /* All other convolutions compute in this, or OXIDET_TRT_OTHER: in what is fastest. */
    int32_t convolution_type;
    /* Timings of a former build on the same device, or NULL. One that does not fit is not used. */
    void const* timing;
    uint64_t timing_len;
    oxidet_trt_progress progress;
    void* user;
} oxidet_trt_request;

typedef struct oxidet_trt_bytes {
    void const* data;
    uint64_t len;
} oxidet_trt_bytes;

typedef struct oxidet_trt_built oxidet_trt_built;

int32_t oxidet_trt_build(oxidet_trt_request const* request, oxidet_trt_built** out);
oxidet_trt_bytes oxidet_trt_built_plan(oxidet_trt_built const* built);
oxidet_trt_bytes oxidet_trt_built_timing(oxidet_trt_built const* built);
void oxidet_trt_built_free(oxidet_trt_built* built);

/* ---- running ---- */

typedef struct oxidet_trt_engine oxidet_trt_engine;
typedef struct oxidet_trt_context oxidet_trt_context;

enum { OXIDET_TRT_MAX_RANK = 8 };

/* dims: -1 where not fixed. min and max: of inputs, what the first profile allows; of outputs, as dims. */
typedef struct oxidet_trt_tensor {
    char const* name;
    int32_t is_input;
    int32_t type;
    int32_t rank;
    int64_t dims[OXIDET_TRT_MAX_RANK];
    int64_t min[OXIDET_TRT_MAX_RANK];
    int64_t opt[OXIDET_TRT_MAX_RANK];
    int64_t max[OXIDET_TRT_MAX_RANK];
} oxidet_trt_tensor;

int32_t oxidet_trt_open(void const* plan, uint64_t len, int32_t dla_core, oxidet_trt_engine** out);
int32_t oxidet_trt_tensors(oxidet_trt_engine const* engine);
int32_t oxidet_trt_describe(oxidet_trt_engine const* engine, int32_t index, oxidet_trt_tensor* out);
/* Layers of the engine as TensorRT's inspector describes them, in JSON. */
int32_t oxidet_trt_inspect(oxidet_trt_engine* engine, oxidet_trt_bytes* out);
void oxidet_trt_close(oxidet_trt_engine* engine);

/* A context belongs to one thread at a time, and goes before its engine. */
int32_t oxidet_trt_context_new(oxidet_trt_engine* engine, oxidet_trt_context** out);
int32_t oxidet_trt_set_shape(oxidet_trt_context* context, char const* input, int32_t rank, int64_t const* dims);
/* Shape of a tensor for the inputs' shapes. */
int32_t oxidet_trt_shape(oxidet_trt_context const* context, char const* tensor, int32_t* rank, int64_t* dims);
/* Where a tensor lies on the device. */
int32_t oxidet_trt_set_address(oxidet_trt_context* context, char const* tensor, void* address);
/* Begins to compute on a CUDA stream. */
int32_t oxidet_trt_enqueue(oxidet_trt_context* context, void* stream);
void oxidet_trt_context_free(oxidet_trt_context* context);

#ifdef __cplusplus
}
#endif

#endif
