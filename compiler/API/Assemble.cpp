#include "compiler/API/Assemble.h"

#include "compiler/Heuristics/TileShape.h"
#include "compiler/Target/NVPTX/Ptx.h"
#include "dialects/hopper/IR/Hopper.h"
#include "dialects/mx/IR/Mx.h"

#include <limits>
#include <map>

using namespace mlir;
using namespace vernier;
using runtime::Error;
using runtime::Result;

namespace {
/// Looks for a way to assemble a kernel without spilled registers, which cost more than blocks or warps that wait.
class SpillSearch {
public:
  SpillSearch(ModuleOp module, std::string kernel, std::string &ptx) : module(module), kernel(std::move(kernel)), ptx(ptx) {}

  /// Changes the kernel, and its PTX, for another try, or goes back to the best; false where nothing is left to try.
  Result<bool> next(int64_t spilled) {
    if (settled || !spilled)
      return false;
    if (nvptx::relaxBlocks(module, kernel, ptx)) // room for one block less on a multiprocessor
      return true;
    if (spilled < fewest)
      fewest = spilled, best = place;
    while (tried < std::size(kPlaces)) {
      nvptx::RegisterMove wanted = kPlaces[tried++];
      if (!move(wanted))
        continue;
      place = wanted;
      return emitAgain();
    }
    settled = true;
    if (place.computing == best.computing && place.fetching == best.fetching)
      return false;
    move(best);
    return emitAgain();
  }

private:
  /// Of warps that share registers: first some for those that fetch or finish, then for those that compute.
  static constexpr nvptx::RegisterMove kPlaces[] = {{0, -1}, {0, 1}, {0, 3}, {1, -2}, {-1, 0}, {-1, 1}, {1, -1}};

  bool move(nvptx::RegisterMove wanted) {
    return nvptx::moveRegisters(module, kernel, {wanted.computing - place.computing, wanted.fetching - place.fetching});
  }
  Result<bool> emitAgain() {
    llvm::Expected<std::string> again = nvptx::emitPtx(module);
    if (!again)
      return Error{llvm::toString(again.takeError())};
    ptx = std::move(*again);
    return true;
  }

  ModuleOp module;
  std::string kernel;
  std::string &ptx;
  nvptx::RegisterMove place, best;
  int64_t fewest = std::numeric_limits<int64_t>::max();
  size_t tried = 0;
  bool settled = false;
};
} // namespace

Result<nvptx::Assembly> vernier::assembleWithoutSpills(const std::string &ptxas, ModuleOp module, std::string &ptx) {
  Result<nvptx::Assembly> assembly = nvptx::assemble(ptxas, ptx);
  if (!assembly)
    return assembly;
  bool changed = false;
  for (auto &[name, report] : std::map(assembly->kernels)) {
    SpillSearch search(module, name, ptx);
    int64_t spilled = report.spillStores + report.spillLoads;
    while (true) {
      Result<bool> again = search.next(spilled);
      if (!again)
        return again.error();
      if (!*again)
        break;
      Result<nvptx::Assembly> alone = nvptx::assemble(ptxas, ptx, name);
      if (!alone)
        return alone;
      const nvptx::KernelReport &found = alone->kernels[name];
      spilled = found.spillStores + found.spillLoads;
      changed = true;
      if (assembly->kernels.size() == 1)
        assembly = std::move(alone);
    }
  }
  return changed && assembly->kernels.size() > 1 ? nvptx::assemble(ptxas, ptx) : std::move(assembly);
}

static void report(nvptx::Assembly &assembly, runtime::LaunchSpec &launch) {
  const nvptx::KernelReport &found = assembly.kernels[launch.entry];
  launch.registers = found.registers;
  launch.warnings = found.warnings;
  launch.spillBytes = found.spillStores + found.spillLoads;
  launch.schedule += ", " + std::to_string(found.registers) + " registers";
  if (launch.sharedBytes)
    launch.schedule += ", " + std::to_string(launch.sharedBytes) + " bytes of shared memory";
  if (launch.spillBytes)
    launch.warnings.push_back("spills " + std::to_string(launch.spillBytes) +
                              " bytes of registers a thread: split the function, or return fewer formats at once");
  launch.warnings.insert(launch.warnings.end(), assembly.warnings.begin(), assembly.warnings.end());
}

void vernier::describeAssembly(nvptx::Assembly assembly, runtime::Artifact &artifact) {
  artifact.code = std::move(assembly.cubin);
  for (runtime::KernelSpec &kernel : artifact.kernels)
    for (runtime::LaunchSpec &launch : kernel.launches)
      report(assembly, launch);
}

static int64_t spilledBytes(const runtime::KernelSpec &kernel) {
  int64_t bytes = 0;
  for (const runtime::LaunchSpec &launch : kernel.launches)
    bytes += launch.spillBytes;
  return bytes;
}

int64_t vernier::spilledBytes(const runtime::Artifact &artifact) {
  int64_t bytes = 0;
  for (const runtime::KernelSpec &kernel : artifact.kernels)
    bytes += ::spilledBytes(kernel);
  return bytes;
}

bool vernier::lightenSpilled(ModuleOp fused, const runtime::Artifact &artifact) {
  bool changed = false;
  size_t next = 0;
  fused.walk([&](mx::KernelOp kernel) {
    const runtime::KernelSpec &spec = artifact.kernels[next++];
    auto known = kernel->getAttrOfType<IntegerAttr>(hopper::kLighter);
    int64_t level = known ? known.getInt() : 0;
    bool product = llvm::any_of(kernel.getBody().front(), [](Operation &op) { return llvm::isa<mx::ProductInterface>(op); });
    if (product || !::spilledBytes(spec) || level >= heuristics::kLightest)
      return;
    kernel->setAttr(hopper::kLighter, Builder(kernel.getContext()).getI64IntegerAttr(level + 1));
    changed = true;
  });
  return changed;
}
