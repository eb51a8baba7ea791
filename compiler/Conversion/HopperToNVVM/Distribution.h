// One function over tiles, rewritten for one thread.
#ifndef VERNIER_COMPILER_CONVERSION_HOPPERTONVVM_DISTRIBUTION_H
#define VERNIER_COMPILER_CONVERSION_HOPPERTONVVM_DISTRIBUTION_H

#include "compiler/Conversion/Lanes/Lanes.h"
#include "dialects/hopper/IR/Hopper.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace vernier::simt {

class CodeWords;

// Of the ring, in the order of `hopper.roles`: the data of all slots, then a pair of barriers each.
inline constexpr int64_t kBarrierBytes = hopper::RolesOp::kBarrierBytes;
inline constexpr unsigned kClusterSpace = 7; ///< shared memory of a cluster's blocks, for LLVM.
// Descriptors of operands say where they begin in units of 16 bytes, in their low words.
inline constexpr int64_t kDescriptorUnit = 16, kDescriptorLow = 1 << 16;

/// A thread's part of a tile: a vector for each of its rows.
using Parts = llvm::SmallVector<mlir::Value>;

class Distribution {
public:
  Distribution(mlir::func::FuncOp source, mlir::LLVM::LLVMFuncOp target, mlir::LLVM::GlobalOp shared);
  mlir::LogicalResult run();

private:
  // --- Distribution.cpp ---
  mlir::Value awaitLaunchBefore();
  mlir::LogicalResult block(mlir::Block &source);
  mlir::LogicalResult visit(mlir::Operation &op);
  mlir::LogicalResult rebuild(mlir::Operation &op);
  mlir::LogicalResult elementwise(mlir::Operation &op);
  /// An elementwise operation on one vector of each operand.
  mlir::Value elementwise(mlir::Operation &op, mlir::Type result, llvm::ArrayRef<mlir::Value> operands);
  llvm::SmallVector<mlir::Type> partTypes(mlir::Type type);
  void mapFlat(mlir::Value from, mlir::ValueRange &flat);
  Parts parts(mlir::Value tile) { return tiles.lookup(tile); }
  mlir::Value number(mlir::Value scalar) { return scalar ? scalars.lookup(scalar) : mlir::Value(); }
  Parts expanded(mlir::Value grid, mlir::VectorType to);
  Parts expandedParts(Parts grid, mlir::VectorType from, mlir::VectorType to);

  // --- Moves.cpp ---
  mlir::LogicalResult load(hopper::LoadOp op);
  mlir::LogicalResult store(hopper::StoreOp op);
  /// How a memref of a matrix is addressed: codes of 4 bits share bytes.
  struct Address {
    mlir::Value base;
    mlir::Value stride; ///< bytes a row.
    int64_t elementBits;
  };
  Address addressOf(mlir::Value memref, mlir::VectorType tile, mlir::Value stride);
  mlir::Value pointer(const Address &address, mlir::Value row, mlir::Value col);
  /// The column of a grid, relative to the tile's first, that this thread's first number has (i32).
  mlir::Value gridColumn(int64_t gridCols);
  mlir::Value itemRow(int64_t item); ///< of this thread, relative to the tile (i32).
  mlir::Value ownsGrid(mlir::VectorType grid);

  // --- TransposedStores.cpp ---
  mlir::LogicalResult storeTransposed(hopper::StoreTransposedOp op);
  mlir::LogicalResult storeGridTransposed(hopper::StoreTransposedOp op);
  mlir::LogicalResult storeGathered(hopper::StoreGatheredOp op);
  /// Rows of codes as words of neighbouring rows: words[word][column].
  llvm::SmallVector<llvm::SmallVector<mlir::Value>> turnedWords(llvm::ArrayRef<mlir::Value> rows, int64_t bits);

  // --- Reductions.cpp ---
  mlir::LogicalResult reduce(hopper::ReduceOp op);
  Parts magnitudes(hopper::ReduceOp op);
  mlir::Value combine(hopper::ReduceKind kind, mlir::Value a, mlir::Value c);
  void combineAcrossWarps(hopper::ReduceOp op, llvm::SmallVector<mlir::Value> &numbers, llvm::ArrayRef<int64_t> masks);

  // --- Tables.cpp ---
  mlir::LogicalResult tabulate(hopper::TabulateOp op);
  mlir::LogicalResult lookup(hopper::LookupOp op);
  mlir::Value evaluate(hopper::TabulateOp function, mlir::Value argument);

  // --- RegisterShares.cpp ---
  /// Registers a thread: at the launch, and of each side from then on.
  struct RegisterShares {
    int64_t entry = 0, computing = 0, fetching = 0, finishing = 0;
  };
  RegisterShares shareRegisters(hopper::RolesOp op, int64_t consumers);

  // --- Roles.cpp ---
  mlir::LogicalResult runRoles(hopper::RolesOp op);
  /// What threads from `first` on run, with a layout of their own.
  mlir::LogicalResult within(hopper::LayoutAttr other, int64_t first, mlir::Region &region);
  mlir::Value isFirst(); ///< of the threads of the side that is emitted.
  mlir::LogicalResult acquire(hopper::AcquireOp op);
  mlir::LogicalResult await(hopper::AwaitOp op);
  mlir::LogicalResult release(hopper::ReleaseOp op);
  void meetCluster();
  /// A slot of the ring, and the parity of the pass: all i32.
  struct Slot {
    mlir::Value barriers;   ///< their address in shared memory.
    mlir::Value descriptor; ///< low word of the descriptor of an operand that begins there.
    mlir::Value parity;
  };
  void makeRing();
  Slot firstSlot();
  /// Waits until the side's next slot is full, or empty, and moves the side on.
  Slot nextSlot(bool full);
  /// Of a pair of barriers, by their address.
  mlir::Value barrierOf(mlir::Value pair, bool full);
  mlir::Value stagedPointer(const Slot &slot, int64_t offset);
  mlir::Value makeVariable(mlir::Value initial);

  // --- Scales.cpp ---
  mlir::LogicalResult loadScales(hopper::LoadScalesOp op);
  mlir::LogicalResult putScales(hopper::PutScalesOp op);
  mlir::LogicalResult commit(hopper::CommitOp op);
  mlir::LogicalResult putMade(hopper::PutMadeOp op);
  mlir::LogicalResult readScales(hopper::ReadScalesOp op);
  mlir::Value scaleOf(mlir::Value word, mlir::Value at);
  /// Of the warpgroup that fetches, one thread of the first warp fetches tiles, one of the second fills places, where they are
  /// filled, and all of the other warps fetch scales: each that of its number, and every scaleThreads()-th after it. No warp
  /// has two tasks: its threads would wait for one another. But where tiles are made, all have the same ones, in the same
  /// order.
  int64_t scaleThreads() { return makes() ? hopper::kWarpgroup : hopper::kWarpgroup - (roles.fills() ? 2 : 1) * 32; }
  bool makes() { return bool(roles.getMakeLayout()); }
  int64_t heldScales(int64_t count); ///< of so many, by each thread that fetches them.

  // --- PassedTiles.cpp ---
  mlir::LogicalResult handOver(hopper::HandOverOp op);
  void pass(mlir::Value tile, int64_t firstCol, hopper::PassedType passed, mlir::Value thread, mlir::Value base, bool adds);
  mlir::LogicalResult fill(hopper::FillOp op);
  mlir::LogicalResult take(hopper::TakeOp op);
  mlir::LogicalResult giveBack(hopper::GiveBackOp op);
  mlir::LogicalResult readPassed(hopper::ReadPassedOp op);
  mlir::LogicalResult copyPassed(hopper::CopyPassedOp op);
  void eachPart(hopper::PassedType tile, mlir::Value address, mlir::Value firstRow, mlir::Value firstCol,
                llvm::function_ref<void(mlir::Value, mlir::ValueRange)> move);
  void fenceProxy();
  /// Where tiles are passed, and the parity of the pass through all places: all i32.
  struct Place {
    mlir::Value address, barriers, parity;
  };
  Place firstPlace();
  Place currentPlace();
  /// Of a place, each with a barrier: passed to, given back, and filled with what is added to.
  enum class PlaceState { Full, Empty, Ready };
  mlir::Value barrierOf(const Place &place, PlaceState state);
  Place nextPlace(PlaceState state, bool oneWarp = false);

  // --- Copies.cpp ---
  mlir::LogicalResult groupTile(hopper::GroupTileOp op);
  mlir::LogicalResult copy(hopper::CopyOp op);
  mlir::LogicalResult prefetch(hopper::PrefetchOp op);
  mlir::Value tensorMap(mlir::Value memref, hopper::StagedType tile);
  mlir::Value coordinate(mlir::Value v);

  // --- Products.cpp ---
  mlir::LogicalResult staged(hopper::StagedOp op);
  mlir::LogicalResult multiply(hopper::MultiplyOp op);
  mlir::LogicalResult beginProduct(hopper::BeginProductOp op);
  mlir::LogicalResult awaitProduct(hopper::AwaitProductOp op);
  mlir::FailureOr<mlir::Value> startProduct(mlir::Operation *op, mlir::Value left, mlir::Value right, int64_t row,
                                            int64_t first, int64_t depth, mlir::VectorType type, mlir::Value sums,
                                            mlir::Value adds);
  static int64_t sumOf(int64_t item, int64_t lane);
  mlir::LLVM::LLVMStructType sumsType(mlir::VectorType tile);
  Parts partsOf(mlir::Value sums, mlir::VectorType tile);

  // --- Codes.cpp ---
  mlir::LogicalResult encode(hopper::EncodeOp op);
  mlir::LogicalResult decode(hopper::DecodeOp op);
  mlir::LogicalResult recode(hopper::RecodeOp op);
  llvm::SmallVector<mlir::Value> toFourBits(CodeWords &words, llvm::ArrayRef<mlir::Value> pairs, mlir::Value source,
                                            bool sourceFour);
  mlir::LogicalResult keep(hopper::KeepOp op);

  // --- small pieces ---
  bool isTile(mlir::Type type);
  mlir::VectorType tileType(mlir::Value v) { return llvm::cast<mlir::VectorType>(v.getType()); }
  bool isCodes(mlir::Type element) { return llvm::isa<mlir::Float8E4M3FNType, mlir::Float4E2M1FNType>(element); }
  mlir::Value index(int64_t value);
  mlir::Value i32(int64_t value);
  mlir::Value extract(mlir::Value vector, int64_t at);
  mlir::Value fromNumbers(llvm::ArrayRef<mlir::Value> numbers, mlir::Type element);
  mlir::Value toI64(mlir::Value index);
  mlir::Value toIndex(mlir::Value i32);
  void barrier();
  mlir::Value sharedPointer(int64_t offset, mlir::Value bytes);
  mlir::LogicalResult memrefLoad(mlir::Operation &op);

  mlir::OpBuilder b;
  mlir::Location loc;
  Lanes lanes;
  mlir::func::FuncOp source;
  mlir::LLVM::LLVMFuncOp target;
  mlir::LLVM::GlobalOp shared;
  hopper::LayoutAttr layout;
  int64_t V, items; ///< columns and rows of a tile that a thread holds.
  hopper::RolesOp roles;
  int64_t cluster = 1;               ///< its blocks.
  bool fetchesTiles = false;         ///< whether the side that is emitted fetches tiles.
  int64_t firstScaleThread = 0;      ///< of those that fetch scales.
  Slot ringStart;                    ///< the first slot, as it is at first.
  Slot currentSlot;                  ///< that the consumer is in.
  mlir::Value lastSums;              ///< results of the last product.
  mlir::Value warpgroup;             ///< of a thread that computes, i32.
  int64_t sideBarrier = 1;           ///< at which the threads of the side that is emitted meet.
  Place taken;                       ///< of the tiles that it took.
  mlir::Value nextIsFull;            ///< a variable: not 0 where the next slot is known to be full.
  std::array<mlir::Value, 3> ring;   ///< variables of the side that a thread is on: its next slot.
  std::array<mlir::Value, 3> places; ///< and its next place of a tile that is passed.
  Place placesStart;                 ///< the first place, as it is at first.
  llvm::DenseMap<mlir::Value, Slot> slots;
  mlir::Value thread, threadRow, threadCol; ///< i32
  llvm::DenseMap<mlir::Value, mlir::Value> scalars;
  llvm::DenseMap<mlir::Value, Parts> tiles;
};

/// `condition` and, where there is a limit, `at` below it; null is true.
mlir::Value andBelow(mlir::OpBuilder &b, mlir::Location loc, mlir::Value condition, mlir::Value at, mlir::Value limit);

/// An intrinsic of LLVM, by its name.
mlir::Value intrinsic(mlir::OpBuilder &b, mlir::Location loc, llvm::StringRef name, mlir::Type result,
                      mlir::ValueRange operands);

/// PTX that no operation stands for, with effects of its own.
mlir::LLVM::InlineAsmOp inlineAsm(mlir::OpBuilder &b, mlir::Location loc, mlir::TypeRange results, mlir::ValueRange operands,
                                  const llvm::Twine &text, const llvm::Twine &constraints);

/// Arithmetic on codes held as words, for one row of a thread (CodeWords.cpp).
class CodeWords {
public:
  CodeWords(mlir::OpBuilder &b, mlir::Location loc) : b(b), loc(loc) {}
  mlir::Value i32(int64_t value);
  mlir::Value prmt(mlir::Value a, mlir::Value c, mlir::Value selector);
  mlir::Value bitAnd(mlir::Value a, mlir::Value c) { return mlir::arith::AndIOp::create(b, loc, a, c); }
  mlir::Value bitOr(mlir::Value a, mlir::Value c) { return mlir::arith::OrIOp::create(b, loc, a, c); }
  mlir::Value bitXor(mlir::Value a, mlir::Value c) { return mlir::arith::XOrIOp::create(b, loc, a, c); }
  mlir::Value shl(mlir::Value a, mlir::Value c) { return mlir::arith::ShLIOp::create(b, loc, a, c); }
  mlir::Value shr(mlir::Value a, mlir::Value c) { return mlir::arith::ShRUIOp::create(b, loc, a, c); }
  mlir::Value add(mlir::Value a, mlir::Value c) { return mlir::arith::AddIOp::create(b, loc, a, c); }
  mlir::Value mul(mlir::Value a, mlir::Value c) { return mlir::arith::MulIOp::create(b, loc, a, c); }
  /// Pairs of f16 (vector<2xf16>) with the codes' values, exactly, in order.
  llvm::SmallVector<mlir::Value> toHalves(mlir::Value words, mlir::Type element);
  /// Four rounded E4M3 codes a word from pairs of f16.
  mlir::Value e4m3FromHalves(mlir::Value low, mlir::Value high);
  /// Rounds to magnitudes of E2M1, on any float vector whose element is exact for them; both are scaled by 2^-6.
  mlir::Value magnitudeToE2M1(mlir::Value scaled);
  /// Eight E2M1 codes a word, from the E4M3 codes of eight such magnitudes and from bytes whose top bits are the signs.
  mlir::Value packQuarter(mlir::Value low, mlir::Value high, mlir::Value lowSigns, mlir::Value highSigns, bool swapped);
  mlir::Value swappedSigns(mlir::Value numbers, int64_t first);
  mlir::Value pair(mlir::Value low, mlir::Value high, mlir::Type element);
  mlir::Value e4m3FromFloats(mlir::Value low, mlir::Value high); ///< i16 of two codes
  /// Four words of four bytes, transposed.
  llvm::SmallVector<mlir::Value> turnedBytes(llvm::ArrayRef<mlir::Value> rows);
  mlir::Value joinHalfWords(mlir::Value low, mlir::Value high);
  mlir::Value splat(double value, mlir::VectorType type);

  mlir::OpBuilder &b;
  mlir::Location loc;
};

} // namespace vernier::simt

#endif
