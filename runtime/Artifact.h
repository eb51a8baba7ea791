// The contract between compiler and runtime: a compiled function and what a call of it must do.
#ifndef VERNIER_RUNTIME_ARTIFACT_H
#define VERNIER_RUNTIME_ARTIFACT_H

#include <cstdint>
#include <string>
#include <vector>

namespace vernier::runtime {

/// Raised whenever the meaning of an artifact changes: old cache entries are then other keys.
inline constexpr int kAbiVersion = 7;

/// A run-time size, from the logical shapes of a call's arguments.
struct SizeTerm {
  int argument = -1; ///< -1: `constant`.
  unsigned dim = 0;
  int64_t constant = 0;
  std::vector<int64_t> roundUps; ///< rounded up to each in turn.
  int64_t divisor = 1;
  bool roundDown = false; ///< the division rounds down rather than up.
};
/// The sum of its terms.
struct SizeExpr {
  std::vector<SizeTerm> terms;
};

using Shape = std::vector<int64_t>;

int64_t evaluate(const SizeExpr &expr, const std::vector<Shape> &arguments);
/// "rows of argument 0", for messages.
std::string describe(const SizeExpr &expr);

/// A logical argument or result: a tensor, or a scaled tensor of several buffers.
struct ValueSpec {
  std::string type;            ///< "f32", "bf16", ..., or a format such as "f4E2M1FN:1x32:f8E8M0FNU:floor" (and ":grouped").
  std::vector<SizeExpr> shape; ///< for an argument: constants where static, else its own dimension.
  std::vector<int> buffers;    ///< indices into Artifact::buffers.
};

struct BufferSpec {
  enum Kind { Argument, Result, Temporary } kind = Temporary;
  std::string element; ///< "f32", "bf16", "f16", "i32", "i64", "i8".
  std::vector<SizeExpr> shape;
};

/// What a caller is held to before anything runs.
struct CheckSpec {
  enum Kind {
    EqualSizes, ///< left == right
    Offsets,    ///< argument `argument` ascends from 0 or more to at most `left`
    Index,      ///< entries of argument `argument` lie in [-1, left)
  } kind = EqualSizes;
  SizeExpr left, right;
  int argument = -1;
};

/// Tiles of a matrix in memory, as the hardware fetches them: 128 bytes a row, in the 128-byte swizzle. The buffer's last
/// dimension counts along a row, the others together count rows.
struct TensorMapSpec {
  int buffer = 0;      ///< of the artifact.
  int rows = 0;        ///< of a tile.
  std::string element; ///< "f8", "bf16", "f16" or "f32".
};

/// How a kernel is launched, and what the assembler says of it.
struct LaunchSpec {
  std::string entry;           ///< name in the code.
  std::vector<SizeExpr> sizes; ///< operands after buffers.
  // Of a kernel for a GPU:
  int threads = 0;                 ///< of a block.
  int64_t sharedBytes = 0;         ///< of a block.
  int waves = 1;                   ///< blocks for each one that runs at a time; each block walks over its share of the tasks.
  int cluster = 1;                 ///< thread blocks that run together; a task is theirs.
  std::vector<SizeExpr> tasks;     ///< their product is the number of tasks; blocks beyond it would have none.
  int pieces = 1;                  ///< of a task: counted as tasks, but made together unless the last wave has room for all.
  int64_t cost = 0, pieceCost = 0; ///< nanoseconds of the pieces of a task together, and of one, to compare launches.
  std::vector<TensorMapSpec> maps; ///< operands after buffers and sizes.
  int registers = 0;               ///< of a thread; 0 where the driver assembles.
  int64_t spillBytes = 0;
  std::vector<std::string> warnings;
  std::string schedule; ///< for people.
};

struct KernelSpec {
  std::string name;
  std::vector<int> buffers;         ///< operands, then results.
  std::vector<LaunchSpec> launches; ///< one, or several that do the same: which one is decided when sizes are known.
  /// An argument whose rows several launches may share out, -1: none. All buffers that have as many rows are walked row by row,
  /// and begin anew at any that is a multiple of a tile's; the first factor of tasks counts tiles of them.
  int rowsOf = -1;
  // For people: what explain() prints.
  std::vector<std::string> operations;
  std::vector<std::string> reasons;
  std::vector<int> reads; ///< buffers whose contents are read (an operand may lend its shape only).
  std::vector<int> writes;
};

/// A result that is another value as well: filled by a copy after the kernels.
struct CopySpec {
  int from = 0, to = 0; ///< buffers of one shape.
};

/// An argument and a result that may be the same memory: each element is read for the last time before it is written.
struct InPlaceSpec {
  int argument = 0, result = 0; ///< buffers of one shape.
};

struct Artifact {
  std::string name;
  std::string target; ///< "host" or "sm_90a".
  std::string chip;
  std::vector<ValueSpec> arguments, results;
  std::vector<BufferSpec> buffers;
  std::vector<CheckSpec> checks;
  std::vector<KernelSpec> kernels;
  std::vector<CopySpec> copies;
  std::vector<InPlaceSpec> inPlace;
  std::string code = {}; ///< host: an object file; sm_90a: a cubin, or nothing where the driver is to assemble.
  std::string ptx = {};  ///< sm_90a: what the cubin was assembled from.
};

unsigned elementBytes(const std::string &element);

/// Everything but `code` and `ptx`, as one line of JSON, and back; an empty name means that the text was no artifact.
std::string toJson(const Artifact &artifact);
Artifact fromJson(const std::string &text);

} // namespace vernier::runtime

#endif
