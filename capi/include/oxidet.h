/* Detecting objects with a model that oxidet exported (.onnx or .etlt), or an engine that it built (.engine, with its .json beside it).
 *
 * Link with liboxidet.so. Every function that can fail returns a status; oxidet_last_error() says in words what went
 * wrong in the last call of this thread. A detector is for one thread at a time. capi/examples/detect.c shows all of it. */
#ifndef OXIDET_H
#define OXIDET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a call came to; the numbers are the exit codes of the program. */
typedef enum oxidet_status {
    OXIDET_OK = 0,
    OXIDET_USAGE = 2,       /* the arguments, or a key that is missing */
    OXIDET_DATA = 3,        /* the model or the image */
    OXIDET_ENVIRONMENT = 4, /* a library, a device, the disk */
    OXIDET_BUG = 70         /* a mistake of oxidet: please report it */
} oxidet_status;

typedef struct oxidet_detector oxidet_detector;

/* How to run a model. Zero is the default of every field. */
typedef struct oxidet_options {
    const char *backend;     /* "cpu" (default), "onnxruntime" or "tensorrt" */
    const char *device;      /* "cpu", "cuda" or "tensorrt"; NULL: "tensorrt" of the backend of that name, "cpu" of others */
    uint32_t device_index;   /* which GPU */
    uint32_t threads;        /* 0: one for each core */
    const char *key;         /* passphrase of an encrypted model */
    const char *ort_library; /* libonnxruntime.so; NULL: the one that is found */
    const char *engine_cache; /* folder that keeps built TensorRT engines; NULL: none */
} oxidet_options;

/* How the bytes of a pixel lie. */
typedef enum oxidet_pixels {
    OXIDET_RGB = 0, /* red, green, blue, a byte each */
    OXIDET_BGR = 1, /* blue, green, red, a byte each */
    OXIDET_GRAY = 2 /* one byte */
} oxidet_pixels;

/* An object; corners in pixels of the image, inside it. */
typedef struct oxidet_object {
    uint32_t class_id;
    float score;
    float x1, y1, x2, y2;
} oxidet_object;

/* Version of the library, as "0.1.0". */
const char *oxidet_version(void);

/* What went wrong in the last call of this thread; "" if nothing did. Valid until the next call. */
const char *oxidet_last_error(void);

/* Opens the model at `path`. `options` may be NULL. The detector is to be closed. */
oxidet_status oxidet_open(const char *path, const oxidet_options *options, oxidet_detector **detector);

/* Closes a detector; NULL is fine. */
void oxidet_close(oxidet_detector *detector);

/* Number of classes. */
size_t oxidet_class_count(const oxidet_detector *detector);

/* Name of a class, which lives as long as the detector; NULL beyond the last. */
const char *oxidet_class_name(const oxidet_detector *detector, size_t class_id);

/* Detects in an image of `width` x `height` pixels whose rows begin `stride` bytes apart (0: one after the other). Objects with a score of
 * at least `threshold` are written to `objects`, best first, as many as there is room for; `count` is how many there are. */
oxidet_status oxidet_detect(oxidet_detector *detector, const uint8_t *pixels, size_t width, size_t height, size_t stride,
                            oxidet_pixels format, float threshold, oxidet_object *objects, size_t room, size_t *count);

#ifdef __cplusplus
}
#endif

#endif
