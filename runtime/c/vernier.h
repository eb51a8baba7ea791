/* vernier's runtime for programs without Python and without the compiler: loads functions from a bundle that was built ahead of
 * time and launches them on NVIDIA Hopper GPUs. Link with libvernier_runtime; the CUDA driver is found when it is first needed.
 */
#ifndef VERNIER_RUNTIME_C_VERNIER_H
#define VERNIER_RUNTIME_C_VERNIER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

typedef struct vernier_function vernier_function;

/* An argument or result: its logical shape, and device memory, contiguous, row-major, aligned to 16 bytes: one buffer for a
 * plain array; payload and scales for a scaled one; then its FP32 scale, if the format has one. */
typedef struct {
  const int64_t *shape;
  int rank;
  void *const *buffers;
  int buffer_count;
} vernier_value;

/* Functions that return int return 0, or 1 and a message here: the last one of the calling thread. */
const char *vernier_last_error(void);

/* The function with a name, or with a key, of a bundle; NULL on error. */
vernier_function *vernier_open(const char *bundle, const char *name_or_key);
void vernier_close(vernier_function *function);

/* Loads the code on a device now rather than with the first launch. */
int vernier_load(vernier_function *function, int device);

int vernier_argument_count(const vernier_function *function);
int vernier_result_count(const vernier_function *function);
/* Buffers of a result: how many, and the bytes and shape of each for given arguments. `shape` has room for four sizes. */
int vernier_result_buffer_count(const vernier_function *function, int result);
int vernier_result_buffer(const vernier_function *function, const vernier_value *arguments, int result, int buffer,
                          int64_t *bytes, int64_t *shape, int *rank);

/* Checks shapes and launches on a stream (CUstream or cudaStream_t) of a device, without waiting. Safe from several threads,
 * and while the stream is being captured. */
int vernier_launch(vernier_function *function, const vernier_value *arguments, const vernier_value *results, int device,
                   void *stream);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
