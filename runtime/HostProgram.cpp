#include "runtime/HostProgram.h"

#include "runtime/ThreadPool.h"

#include <cstdlib>
#include <cstring>
#include <new>

using namespace vernier::runtime;

namespace {
/// What a kernel takes for a buffer: MLIR's memref descriptor, followed by its sizes and strides.
struct Descriptor {
  void *allocated, *aligned;
  int64_t offset = 0;
  int64_t sizesAndStrides[8] = {};

  Descriptor(void *data, const Shape &shape) : allocated(data), aligned(data) {
    size_t rank = shape.size();
    int64_t stride = 1;
    for (size_t i = rank; i-- > 0; stride *= shape[i]) {
      sizesAndStrides[i] = shape[i];
      sizesAndStrides[rank + i] = stride;
    }
  }
};

struct Temporary {
  void *data = nullptr;
  Temporary() = default;
  Temporary(Temporary &&other) noexcept : data(other.data) { other.data = nullptr; }
  ~Temporary() { std::free(data); }
};
} // namespace

static std::string number(int64_t value) { return std::to_string(value); }

static Status checkOffsets(const CheckSpec &check, const int32_t *values, int64_t count, int64_t limit) {
  auto fail = [&](const std::string &what) { return Error{"offsets (argument " + number(check.argument) + "): " + what}; };
  if (count < 2)
    return fail("expected at least two offsets, but got " + number(count));
  for (int64_t i = 0; i < count; ++i) {
    int64_t before = i ? values[i - 1] : 0;
    if (values[i] < before)
      return fail("expected ascending offsets from 0, but offset " + number(i) + " is " + number(values[i]) + " after " +
                  number(before));
  }
  if (values[count - 1] > limit)
    return fail("expected offsets within the " + number(limit) + " rows, but offset " + number(count - 1) + " is " +
                number(values[count - 1]));
  return {};
}

static Status checkIndex(const CheckSpec &check, const int32_t *values, int64_t count, int64_t limit) {
  for (int64_t i = 0; i < count; ++i)
    if (values[i] < -1 || values[i] >= limit)
      return Error{"index (argument " + number(check.argument) + "): expected rows in [0, " + number(limit) +
                   ") or -1, but entry " + number(i) + " is " + number(values[i])};
  return {};
}

Status HostProgram::check(const std::vector<ValueView> &arguments) const {
  if (Status status = checkShapes(arguments); !status)
    return status;
  std::vector<Shape> shapes = shapesOf(arguments);
  for (const CheckSpec &check : artifact_->checks) {
    if (check.kind == CheckSpec::EqualSizes)
      continue;
    int64_t count = 1, limit = evaluate(check.left, shapes);
    for (int64_t size : shapes[check.argument])
      count *= size;
    const auto *values = static_cast<const int32_t *>(arguments[check.argument].buffers[0]);
    Status status =
        check.kind == CheckSpec::Offsets ? checkOffsets(check, values, count, limit) : checkIndex(check, values, count, limit);
    if (!status)
      return status;
  }
  return {};
}

Status HostProgram::run(const std::vector<ValueView> &arguments, const std::vector<ValueView> &results) const {
  const Artifact &artifact = *artifact_;
  std::vector<Shape> shapes = shapesOf(arguments);
  std::vector<void *> data(artifact.buffers.size(), nullptr);
  std::vector<Range> ranges(artifact.buffers.size());
  std::vector<ValueRef> given(arguments.begin(), arguments.end());
  auto bind = [&](const std::vector<ValueSpec> &specs, const std::vector<ValueView> &values) {
    for (size_t i = 0; i < specs.size(); ++i)
      for (size_t j = 0; j < specs[i].buffers.size(); ++j) {
        int buffer = specs[i].buffers[j];
        data[buffer] = values[i].buffers[j];
        auto *begin = static_cast<const char *>(data[buffer]);
        ranges[buffer] = {begin, begin + bytesOf(size_t(buffer), given.data())};
      }
  };
  bind(artifact.arguments, arguments);
  bind(artifact.results, results);
  if (Status status = checkApart(ranges.data()); !status)
    return status;
  std::vector<Descriptor> descriptors;
  std::vector<Temporary> temporaries;
  for (size_t i = 0; i < artifact.buffers.size(); ++i) {
    Shape shape = bufferShape(int(i), shapes);
    if (artifact.buffers[i].kind == BufferSpec::Temporary) {
      auto bytes = size_t(bytesOf(i, given.data()));
      Temporary temporary;
      temporary.data = std::aligned_alloc(64, (bytes + 127) / 64 * 64);
      if (!temporary.data)
        return Error{artifact.name + ": out of memory for a temporary buffer of " + number(int64_t(bytes)) + " bytes"};
      data[i] = temporary.data;
      temporaries.push_back(std::move(temporary));
    }
    descriptors.emplace_back(data[i], shape);
  }
  for (size_t k = 0; k < artifact.kernels.size(); ++k) {
    const KernelSpec &kernel = artifact.kernels[k];
    std::vector<int64_t> sizes;
    for (const SizeExpr &size : kernel.launches.front().sizes)
      sizes.push_back(evaluate(size, shapes));
    std::vector<void *> operands;
    for (int buffer : kernel.buffers)
      operands.push_back(&descriptors[buffer]);
    for (int64_t &size : sizes)
      operands.push_back(&size);
    int64_t tasks = 0;
    std::vector<void *> counting = operands;
    counting.push_back(&tasks);
    entries[k].count(counting.data());
    parallelFor(tasks, [&](int64_t begin, int64_t end) {
      std::vector<void *> mine = operands;
      mine.push_back(&begin);
      mine.push_back(&end);
      entries[k].run(mine.data());
    });
  }
  for (const CopySpec &copy : artifact.copies) {
    if (auto bytes = size_t(bytesOf(size_t(copy.from), given.data())))
      std::memcpy(data[copy.to], data[copy.from], bytes);
  }
  return {};
}
