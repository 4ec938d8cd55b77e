/* Loads the model with ONNX Runtime's C API, runs the canary, and compares the outputs with the proven ones.
 *
 * Run it in the folder that contains canary/:  sample MODEL
 * Exit code 0: the outputs are the proven ones. 1: they differ. 2: the model cannot be loaded or run. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <onnxruntime_c_api.h>

#include "canary.h"

#ifdef _WIN32
#define MAIN int wmain(int argc, wchar_t **argv)
#define SHOWN "%ls"
#else
#define MAIN int main(int argc, char **argv)
#define SHOWN "%s"
#endif

static const OrtApi *ort;

static void need(OrtStatus *status) {
  if (status == NULL) return;
  fprintf(stderr, "ONNX Runtime: %s\n", ort->GetErrorMessage(status));
  exit(2);
}

static void *entries(const canary_tensor *tensor) {
  char path[256];
  size_t bytes = tensor->count * tensor->entry_bytes;
  void *data = malloc(bytes ? bytes : 1);
  snprintf(path, sizeof path, "canary/%s", tensor->file);
  FILE *file = fopen(path, "rb");
  if (file == NULL || data == NULL || fread(data, 1, bytes, file) != bytes) {
    fprintf(stderr, "%s cannot be read\n", path);
    exit(2);
  }
  fclose(file);
  return data;
}

static double half(uint16_t bits) {
  int exponent = bits >> 10 & 31, fraction = bits & 1023;
  double size = exponent == 0    ? ldexp(fraction, -24)
                : exponent == 31 ? (fraction ? NAN : INFINITY)
                                 : ldexp(fraction + 1024, exponent - 25);
  return bits & 0x8000 ? -size : size;
}

static double entry(const void *data, ONNXTensorElementDataType type, size_t at) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT: return ((const float *)data)[at];
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE: return ((const double *)data)[at];
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: return half(((const uint16_t *)data)[at]);
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64: return (double)((const int64_t *)data)[at];
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64: return (double)((const uint64_t *)data)[at];
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: return ((const int32_t *)data)[at];
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32: return ((const uint32_t *)data)[at];
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16: return ((const int16_t *)data)[at];
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16: return ((const uint16_t *)data)[at];
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8: return ((const int8_t *)data)[at];
    default: return ((const uint8_t *)data)[at]; /* uint8 and bool */
  }
}

static int fractions(ONNXTensorElementDataType type) {
  return type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT || type == ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE ||
         type == ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
}

/* The largest difference as a share of the largest proven entry; for whole numbers, the share of unequal entries. */
static double difference(const canary_tensor *proven, const void *found) {
  const void *expected = entries(proven);
  double apart = 0, largest = 0, unequal = 0;
  for (size_t at = 0; at < proven->count; at++) {
    double a = entry(expected, proven->type, at), b = entry(found, proven->type, at);
    if (isfinite(a) && fabs(a) > largest) largest = fabs(a);
    if (a == b || (isnan(a) && isnan(b))) continue;
    unequal++;
    if (isnan(a - b)) return INFINITY;
    if (fabs(a - b) > apart) apart = fabs(a - b);
  }
  if (!fractions(proven->type)) return proven->count ? unequal / (double)proven->count : 0;
  return largest > 0 ? apart / largest : apart;
}

/* The entries of an output; NULL if its type or size is another than the proven one. */
static void *same_kind(const canary_tensor *proven, OrtValue *value) {
  OrtTensorTypeAndShapeInfo *info;
  ONNXTensorElementDataType type;
  size_t count;
  void *data;
  need(ort->GetTensorTypeAndShape(value, &info));
  need(ort->GetTensorElementType(info, &type));
  need(ort->GetTensorShapeElementCount(info, &count));
  ort->ReleaseTensorTypeAndShapeInfo(info);
  need(ort->GetTensorMutableData(value, &data));
  return type == proven->type && count == proven->count ? data : NULL;
}

MAIN {
  if (argc != 2) {
    fprintf(stderr, "usage: sample MODEL\n");
    return 2;
  }
  ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (ort == NULL) {
    fprintf(stderr, "the library is older than the headers: it is %s\n", OrtGetApiBase()->GetVersionString());
    return 2;
  }
  OrtEnv *env;
  OrtSessionOptions *options;
  OrtSession *session;
  OrtMemoryInfo *memory;
  need(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "sample", &env));
  need(ort->DisableTelemetryEvents(env));
  need(ort->CreateSessionOptions(&options));
  need(ort->CreateSession(env, argv[1], options, &session));
  need(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));

  const char *input_names[INPUT_COUNT], *output_names[OUTPUT_COUNT];
  OrtValue *inputs[INPUT_COUNT], *outputs[OUTPUT_COUNT];
  for (size_t at = 0; at < INPUT_COUNT; at++) {
    const canary_tensor *one = &INPUTS[at];
    input_names[at] = one->name;
    need(ort->CreateTensorWithDataAsOrtValue(memory, entries(one), one->count * one->entry_bytes, one->shape,
                                             one->rank, one->type, &inputs[at]));
  }
  for (size_t at = 0; at < OUTPUT_COUNT; at++) {
    output_names[at] = OUTPUTS[at].name;
    outputs[at] = NULL;
  }
  need(ort->Run(session, NULL, input_names, (const OrtValue *const *)inputs, INPUT_COUNT, output_names, OUTPUT_COUNT,
                outputs));

  int wrong = 0;
  for (size_t at = 0; at < OUTPUT_COUNT; at++) {
    const canary_tensor *one = &OUTPUTS[at];
    const void *found = same_kind(one, outputs[at]);
    double apart = found ? difference(one, found) : INFINITY;
    printf("%s: differs by %.3g from the proven output (allowed: %g)\n", one->name, apart, one->allowed);
    wrong |= !(apart <= one->allowed);
  }
  printf(SHOWN ": %s\n", argv[1], wrong ? "NOT the proven outputs" : "the proven outputs");
  return wrong;
}
