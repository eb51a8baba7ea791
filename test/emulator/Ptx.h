// PTX text as a program: registers numbered, names resolved, labels as places.
#ifndef VERNIER_TEST_EMULATOR_PTX_H
#define VERNIER_TEST_EMULATOR_PTX_H

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace vernier::emulator {

class Warp;

/// What a kernel did wrong, or what the emulator does not know.
struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Operand {
  enum Kind { Register, Predicate, Immediate, Special, Parameter, Shared, Label, Vector, Address, Sink };
  Kind kind = Sink;
  bool wide = false;   ///< of registers: 64 bits.
  uint32_t number = 0; ///< of registers and predicates: where they lie; of parameters: their offset; of labels: the place.
  uint64_t value = 0;  ///< of immediates, their bits; of shared memory, the offset.
  int64_t offset = 0;  ///< of addresses.
  std::string name;    ///< of special registers and labels.
  std::vector<Operand> parts; ///< of vectors and addresses; the first of an address is its base.
};

struct Instruction {
  std::vector<std::string> opcode; ///< its parts between dots.
  std::vector<Operand> operands;
  int guard = -1; ///< predicate, or -1.
  bool guardNegated = false;
  bool together = false; ///< all threads of the warp execute it at once.
  std::string text;
  std::function<void(Warp &, const Instruction &, uint32_t)> run; ///< for the threads of a mask; without it: control flow.

  bool has(const std::string &part) const;
};

struct Parameter {
  uint32_t offset = 0, bytes = 0;
};

struct Kernel {
  std::string name;
  std::vector<Parameter> parameters;
  uint32_t parameterBytes = 0;
  unsigned cluster = 1, mostThreads = 1024;
  bool waits = false; ///< for the launch before it.
  uint32_t registerBytes = 0, predicates = 0;
  std::vector<Instruction> code;
};

/// All kernels of a module. Throws Failure, which names the line.
std::map<std::string, std::shared_ptr<const Kernel>> parse(const std::string &text);

/// Where shared memory begins: low addresses are nobody's.
inline constexpr uint32_t kSharedBegin = 1024;

/// Gives an instruction its meaning. Throws Failure for one that the emulator does not know.
void define(Instruction &instruction);
bool defineArithmetic(Instruction &instruction);
bool defineConversion(Instruction &instruction);
bool defineMemory(Instruction &instruction);
bool defineAsynchronous(Instruction &instruction);
bool defineProduct(Instruction &instruction);

} // namespace vernier::emulator

#endif
