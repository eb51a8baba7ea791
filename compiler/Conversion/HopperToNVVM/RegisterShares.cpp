// How the roles of a block share out its registers.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"
#include "compiler/Target/NVPTX/Ptx.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;

/// The warpgroup that fetches needs few registers: for addresses and counters, for the words of scales that it holds and the
/// next ones, for those that it writes. The one that finishes works on few elements at a time. The others share what is left.
Distribution::RegisterShares Distribution::shareRegisters(hopper::RolesOp op, int64_t consumers) {
  constexpr int64_t unit = nvptx::kRegisterUnit, ownRegisters = 40, searchRegisters = 8, innerLoopRegisters = 4;
  int64_t held = 0, searches = 0;
  op.getScales().walk([&](Operation *inner) {
    if (llvm::isa<hopper::GroupTileOp>(inner))
      searches = searchRegisters;
    auto loop = llvm::dyn_cast<scf::ForOp>(inner);
    if (!loop)
      return;
    int64_t mine = 0;
    for (auto load : loop.getBody()->getOps<hopper::LoadScalesOp>())
      mine += 3 * heldScales(load.getType().getRows()) * llvm::divideCeil(load.getType().getCols(), 4);
    if (mine)
      loop.walk([&](hopper::PutScalesOp put) {
        mine += int64_t(put.getBlocks()) + (put->getParentOp() == loop ? 0 : innerLoopRegisters);
      });
    held = std::max(held, mine);
  });
  int64_t computingGroups = consumers / hopper::kWarpgroup, groups = computingGroups + (op.finishes() ? 2 : 1);
  RegisterShares shares;
  shares.entry = nvptx::launchRegisters(groups * hopper::kWarpgroup);
  // Of those that the block was launched with: asking for more would wait for ever.
  int64_t all = shares.entry * groups;
  constexpr int64_t mostComputing = 240;
  if (!op.finishes()) {
    shares.fetching = std::clamp<int64_t>(llvm::alignTo(ownRegisters + searches + held, unit), 40, 96);
    shares.computing = std::min<int64_t>(mostComputing, (all - shares.fetching) / computingGroups / unit * unit);
    shares.fetching = (all - shares.computing * computingGroups) / unit * unit; // what rounding leaves is of no use to others
    return shares;
  }
  // Those that compute hold the sums, the partial sums of one slab, its scales and a few addresses.
  int64_t sums = 0, partial = 0, overlapped = 0, scales = 1, handOvers = 0;
  llvm::DenseMap<Block *, int64_t> passed;
  auto registersOf = [&](Value tile) {
    VectorType type = tileType(tile);
    return layout.localRows(type.getDimSize(0)) * layout.localCols(type.getDimSize(1));
  };
  op.getCompute().walk([&](Operation *inner) {
    if (auto hand = llvm::dyn_cast<hopper::HandOverOp>(inner); hand && (handOvers += hand.getPiece() == 0))
      for (Value tile : hand.getTiles())
        sums =
            std::max(sums, passed[hand->getBlock()] += tileType(tile).getNumElements() / int64_t(hand.getPieces()) / consumers);
    else if (auto product = llvm::dyn_cast<hopper::MultiplyOp>(inner))
      partial = tileType(product.getResult()).getNumElements() / consumers;
    else if (auto read = llvm::dyn_cast<hopper::ReadScalesOp>(inner))
      scales = std::max(scales, layout.localCols(tileType(read.getResult()).getDimSize(1)));
    else if (auto product = llvm::dyn_cast<hopper::AwaitProductOp>(inner)) {
      // With the sums that it is added to, those of all that were begun behind it and the scales of all.
      int64_t registers = int64_t(product.getLeaving() + 2) * registersOf(product.getResult());
      for (auto read : inner->getBlock()->getOps<hopper::ReadScalesOp>())
        registers += registersOf(read.getResult());
      overlapped = std::max(overlapped, registers);
    }
  });
  constexpr int64_t leastFetching = 40, usualFetching = 48, leastFinishing = 40, columnScales = 16;
  // Several slabs are counted, and left out where there are few rows; blocks of a cluster tell one another.
  int64_t addresses = handOvers > 1 && !makes() ? 15 : 7;
  int64_t needed = std::max(sums + partial + scales + (scales > 1 ? columnScales : 0), overlapped);
  needed = llvm::alignTo(needed + addresses, unit);
  // Where more than copies is made of tiles, every register there lets more numbers be on their way.
  bool computes = op.getFinish()
                      .walk([](Operation *inner) {
                        return llvm::isa<hopper::EncodeOp>(inner) || inner->getName().getDialectNamespace() == "math" ||
                                       llvm::isa<arith::MulFOp, arith::AddFOp>(inner)
                                   ? WalkResult::interrupt()
                                   : WalkResult::advance();
                      })
                      .wasInterrupted();
  int64_t slack = all - needed * computingGroups - leastFinishing,
          least = slack < usualFetching ? leastFetching : usualFetching;
  int64_t mostFetching = std::clamp<int64_t>(slack, least, computes ? usualFetching : 96);
  shares.fetching = std::clamp<int64_t>(llvm::alignTo(ownRegisters + searches + held, unit), leastFetching, mostFetching);
  // What is made passes through registers on its way; nothing else needs them more.
  if (constexpr int64_t making = 64; op.getMakeLayout()) {
    int64_t usualFinishing = computes ? 72 : 56;
    shares.fetching = std::clamp((all - needed * computingGroups - usualFinishing) / unit * unit, making, mostComputing);
  }
  int64_t mostLeft = (all - shares.fetching - leastFinishing) / computingGroups / unit * unit;
  shares.computing = std::clamp<int64_t>(needed, shares.entry + unit, std::min(mostComputing, mostLeft));
  shares.finishing =
      std::min<int64_t>(mostComputing, (all - shares.fetching - shares.computing * computingGroups) / unit * unit);
  return shares;
}
