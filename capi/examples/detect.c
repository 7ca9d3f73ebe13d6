/* Detects in a picture: cc detect.c -I include -L LIBDIR -loxidet -o detect && ./detect model.onnx picture.ppm */
#include <stdio.h>
#include <stdlib.h>

#include "oxidet.h"

/* Reads a picture in the binary PPM format, P6; NULL when it is none. */
static uint8_t *read_ppm(const char *path, size_t *width, size_t *height) {
    FILE *file = fopen(path, "rb");
    uint8_t *pixels = NULL;
    unsigned w, h;
    if (file && fscanf(file, "P6 %u %u 255", &w, &h) == 2 && fgetc(file) != EOF && w && h && w <= 16384 && h <= 16384) {
        size_t bytes = (size_t)w * h * 3;
        pixels = malloc(bytes);
        if (pixels && fread(pixels, 1, bytes, file) != bytes) {
            free(pixels);
            pixels = NULL;
        }
        *width = w;
        *height = h;
    }
    if (file) fclose(file);
    return pixels;
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL PICTURE.ppm [KEY]\n", argv[0]);
        return OXIDET_USAGE;
    }
    oxidet_options options = {0};
    options.key = argc > 3 ? argv[3] : NULL;
    oxidet_detector *detector = NULL;
    oxidet_status status = oxidet_open(argv[1], &options, &detector);
    if (status != OXIDET_OK) {
        fprintf(stderr, "%s\n", oxidet_last_error());
        return status;
    }
    size_t width, height, count = 0;
    uint8_t *pixels = read_ppm(argv[2], &width, &height);
    if (!pixels) {
        fprintf(stderr, "%s: not a PPM picture\n", argv[2]);
        oxidet_close(detector);
        return OXIDET_DATA;
    }
    oxidet_object objects[200];
    status = oxidet_detect(detector, pixels, width, height, 0, OXIDET_RGB, 0.3f, objects, 200, &count);
    if (status != OXIDET_OK) fprintf(stderr, "%s\n", oxidet_last_error());
    for (size_t i = 0; i < count && i < 200; i++) {
        const oxidet_object *o = &objects[i];
        printf("%s %.3f %.1f %.1f %.1f %.1f\n", oxidet_class_name(detector, o->class_id), o->score, o->x1, o->y1, o->x2, o->y2);
    }
    free(pixels);
    oxidet_close(detector);
    return status;
}
