// What every loaded artifact knows of its calls, whatever runs them.
#ifndef VERNIER_RUNTIME_PROGRAM_H
#define VERNIER_RUNTIME_PROGRAM_H

#include "runtime/Artifact.h"
#include "runtime/Result.h"

#include <memory>

namespace vernier::runtime {

/// An argument or result of a call: its logical shape and its buffers, contiguous and row-major.
struct ValueView {
  Shape shape;
  std::vector<void *> buffers;
};

/// The same as ValueView over memory of the caller: the launch path copies nothing.
struct ValueRef {
  const int64_t *shape = nullptr;
  void *const *buffers = nullptr;
  ValueRef() = default;
  ValueRef(const int64_t *shape, void *const *buffers) : shape(shape), buffers(buffers) {}
  explicit ValueRef(const ValueView &view) : shape(view.shape.data()), buffers(view.buffers.data()) {}
};

/// evaluate() over the shapes of a call, without copying them.
int64_t evaluate(const SizeExpr &expr, const ValueRef *arguments);

std::vector<Shape> shapesOf(const std::vector<ValueView> &values);

class Program {
public:
  explicit Program(std::shared_ptr<const Artifact> artifact) : artifact_(std::move(artifact)) {}

  const Artifact &artifact() const { return *artifact_; }

  /// Checks numbers of arguments, ranks and sizes; says what is wrong in one line.
  Status checkShapes(const std::vector<ValueView> &arguments) const;
  /// The sizes alone, for arguments of the right number and ranks. Allocates nothing where all is well.
  Status checkShapes(const ValueRef *arguments) const;
  /// Where a buffer lies.
  struct Range {
    const char *begin = nullptr, *end = nullptr;
  };
  /// Of a buffer, for a call that passed the checks.
  int64_t bytesOf(size_t buffer, const ValueRef *arguments) const;
  /// That no result lies where an argument or another result does, but for those that may (Artifact::inPlace). `ranges`: of all
  /// buffers of arguments and results. Allocates nothing where all is well.
  Status checkApart(const Range *ranges) const;
  /// Logical shapes of the results, for a call that passed the checks.
  std::vector<Shape> resultShapes(const std::vector<ValueView> &arguments) const;
  Shape bufferShape(int buffer, const std::vector<Shape> &arguments) const;

protected:
  std::shared_ptr<const Artifact> artifact_;
};

} // namespace vernier::runtime

#endif
