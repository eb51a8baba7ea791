// A host artifact, loaded: checks a call and runs its kernels.
#ifndef VERNIER_RUNTIME_HOSTPROGRAM_H
#define VERNIER_RUNTIME_HOSTPROGRAM_H

#include "runtime/Program.h"

namespace vernier::runtime {

class HostProgram : public Program {
public:
  struct Entry {
    void (*run)(void **operands) = nullptr;
    void (*count)(void **operands) = nullptr;
  };

  /// `code` keeps the entries' machine code alive.
  HostProgram(std::shared_ptr<const Artifact> artifact, std::vector<Entry> entries, std::shared_ptr<void> code)
      : Program(std::move(artifact)), entries(std::move(entries)), code(std::move(code)) {}

  /// Checks shapes, offsets and indices; says what is wrong in one line.
  Status check(const std::vector<ValueView> &arguments) const;
  /// Runs the kernels in order. Results must have the buffers that bufferShape() says.
  Status run(const std::vector<ValueView> &arguments, const std::vector<ValueView> &results) const;

private:
  std::vector<Entry> entries;
  std::shared_ptr<void> code;
};

} // namespace vernier::runtime

#endif
