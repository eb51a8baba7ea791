// A host artifact, loaded: checks a call and runs its kernels.
#ifndef VERNIER_RUNTIME_HOSTPROGRAM_H
#define VERNIER_RUNTIME_HOSTPROGRAM_H

#include "runtime/Artifact.h"
#include "runtime/Result.h"

#include <memory>

namespace vernier::runtime {

/// An argument or result of a call: its logical shape and its buffers, contiguous and row-major.
struct ValueView {
  Shape shape;
  std::vector<void *> buffers;
};

class HostProgram {
public:
  struct Entry {
    void (*run)(void **operands) = nullptr;
    void (*count)(void **operands) = nullptr;
  };

  /// `code` keeps the entries' machine code alive.
  HostProgram(std::shared_ptr<const Artifact> artifact, std::vector<Entry> entries, std::shared_ptr<void> code)
      : artifact_(std::move(artifact)), entries(std::move(entries)), code(std::move(code)) {}

  const Artifact &artifact() const { return *artifact_; }

  /// Checks shapes, offsets and indices; says what is wrong in one line.
  Status check(const std::vector<ValueView> &arguments) const;
  /// Logical shapes of the results, for a call that passed check().
  std::vector<Shape> resultShapes(const std::vector<ValueView> &arguments) const;
  Shape bufferShape(int buffer, const std::vector<Shape> &arguments) const;
  /// Runs the kernels in order. Results must have the buffers that bufferShape() says.
  Status run(const std::vector<ValueView> &arguments, const std::vector<ValueView> &results) const;

private:
  std::shared_ptr<const Artifact> artifact_;
  std::vector<Entry> entries;
  std::shared_ptr<void> code;
};

} // namespace vernier::runtime

#endif
