#include "compiler/Target/NVPTX/Ptx.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/IR/Builders.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/Analysis/ValueTracking.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/PatternMatch.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"

#include <mutex>

using namespace vernier;

extern "C" {
void LLVMInitializeNVPTXTarget();
void LLVMInitializeNVPTXTargetInfo();
void LLVMInitializeNVPTXTargetMC();
void LLVMInitializeNVPTXAsmPrinter();
}

/// The largest version that LLVM 22 writes is 9.0; ptxas 12.8 and later take 8.7, and nothing here needs more.
static constexpr const char *kFeatures = "+ptx87";

static llvm::Expected<std::unique_ptr<llvm::TargetMachine>> makeMachine() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeNVPTXTargetInfo();
    LLVMInitializeNVPTXTarget();
    LLVMInitializeNVPTXTargetMC();
    LLVMInitializeNVPTXAsmPrinter();
  });
  llvm::Triple triple("nvptx64-nvidia-cuda");
  std::string message;
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, message);
  if (!target)
    return llvm::createStringError(message);
  std::unique_ptr<llvm::TargetMachine> machine(
      target->createTargetMachine(triple, nvptx::kChip, kFeatures, llvm::TargetOptions(), std::nullopt));
  if (!machine)
    return llvm::createStringError("LLVM has no target machine for %s", nvptx::kChip);
  machine->setOptLevel(llvm::CodeGenOptLevel::Aggressive);
  return machine;
}

/// LLVM takes `x < 0 ? x : 0` for a minimum, which gives -0 for -0 where the program says 0. It does not recognise a condition
/// that is frozen. The larger of +0 and a number, and the smaller of -0 and a number, are right as they are.
static void keepSignsOfZeros(llvm::Module &module) {
  for (llvm::Function &function : module)
    for (llvm::Instruction &instruction : llvm::instructions(function)) {
      using namespace llvm::PatternMatch;
      auto *select = llvm::dyn_cast<llvm::SelectInst>(&instruction);
      if (!select || !select->getType()->isFPOrFPVectorTy())
        continue;
      llvm::Value *left, *right;
      llvm::SelectPatternFlavor flavor = llvm::matchSelectPattern(select, left, right).Flavor;
      if (flavor != llvm::SPF_FMINNUM && flavor != llvm::SPF_FMAXNUM)
        continue;
      bool least = flavor == llvm::SPF_FMINNUM, exact = false;
      for (llvm::Value *value : {left, right})
        exact |= least ? match(value, m_NegZeroFP()) : match(value, m_PosZeroFP());
      if (!exact)
        select->setCondition(new llvm::FreezeInst(select->getCondition(), "", select->getIterator()));
    }
}

llvm::Expected<std::string> vernier::nvptx::emitPtx(mlir::ModuleOp module) {
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> llvmModule = mlir::translateModuleToLLVMIR(module, context);
  if (!llvmModule)
    return llvm::createStringError("translation to LLVM IR failed");
  auto machine = makeMachine();
  if (!machine)
    return machine.takeError();
  llvmModule->setTargetTriple((*machine)->getTargetTriple());
  llvmModule->setDataLayout((*machine)->createDataLayout());
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager sccs;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(machine->get());
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(sccs);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, sccs, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O2).run(*llvmModule, modules);
  keepSignsOfZeros(*llvmModule);
  llvm::SmallString<0> text;
  llvm::raw_svector_ostream os(text);
  llvm::legacy::PassManager emit;
  if ((*machine)->addPassesToEmitFile(emit, os, nullptr, llvm::CodeGenFileType::AssemblyFile))
    return llvm::createStringError("LLVM cannot write PTX");
  emit.run(*llvmModule);
  return std::string(text);
}

bool vernier::nvptx::relaxBlocks(mlir::ModuleOp module, llvm::StringRef kernel, std::string &ptx) {
  auto function = module.lookupSymbol<mlir::LLVM::LLVMFuncOp>(kernel);
  llvm::StringRef name = mlir::NVVM::NVVMDialect::getMinctasmAttrName();
  auto blocks = function ? function->getAttrOfType<mlir::IntegerAttr>(name) : nullptr;
  if (!blocks || blocks.getInt() <= 1)
    return false;
  llvm::StringRef directive = ".minnctapersm ";
  size_t entry = ptx.find((".entry " + kernel + "(").str()), at = ptx.find(directive, entry);
  if (entry == std::string::npos || at == std::string::npos || at > ptx.find('{', entry))
    return false;
  at += directive.size();
  ptx.replace(at, ptx.find_first_not_of("0123456789", at) - at, std::to_string(blocks.getInt() - 1));
  function->setAttr(name, mlir::Builder(module.getContext()).getI32IntegerAttr(int32_t(blocks.getInt()) - 1));
  return true;
}

bool vernier::nvptx::moveRegisters(mlir::ModuleOp module, llvm::StringRef kernel, RegisterMove move) {
  auto function = module.lookupSymbol<mlir::LLVM::LLVMFuncOp>(kernel);
  auto threads =
      function ? function->getAttrOfType<mlir::DenseI32ArrayAttr>(mlir::NVVM::NVVMDialect::getMaxntidAttrName()) : nullptr;
  if (!threads)
    return false;
  llvm::SmallVector<mlir::NVVM::SetMaxRegisterOp> sides; // that compute; one warpgroup that fetches; one that finishes
  function.walk([&](mlir::NVVM::SetMaxRegisterOp op) { sides.push_back(op); });
  if (sides.size() < 2)
    return false;
  constexpr int64_t warpgroup = 128, least = 24, most = 240;
  int64_t computingGroups = threads[0] / warpgroup - int64_t(sides.size() - 1);
  llvm::SmallVector<int64_t> units{move.computing};
  if (sides.size() > 2)
    units.push_back(move.fetching);
  units.push_back(-computingGroups * move.computing - (sides.size() > 2 ? move.fetching : 0));
  llvm::SmallVector<int64_t> counts;
  for (auto [op, more] : llvm::zip_equal(sides, units)) {
    counts.push_back(op.getRegCount() + kRegisterUnit * more);
    if (counts.back() < least || counts.back() > most)
      return false;
  }
  for (auto [op, count] : llvm::zip_equal(sides, counts)) {
    op.setRegCount(uint32_t(count));
    op.setAction(count > launchRegisters(threads[0]) ? mlir::NVVM::SetMaxRegisterAction::increase
                                                     : mlir::NVVM::SetMaxRegisterAction::decrease);
  }
  return true;
}
