#include "compiler/Target/Host/ObjectFile.h"

#include "mlir/Target/LLVMIR/Export.h"
#include "llvm/ExecutionEngine/Orc/JITTargetMachineBuilder.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Host.h"

#include <mutex>

using namespace llvm;

static void initializeTarget() {
  static std::once_flag once;
  std::call_once(once, [] {
    InitializeNativeTarget();
    InitializeNativeTargetAsmPrinter();
  });
}

static Expected<std::unique_ptr<TargetMachine>> makeMachine() {
  initializeTarget();
  auto builder = orc::JITTargetMachineBuilder::detectHost();
  if (!builder)
    return builder.takeError();
  builder->setCodeGenOptLevel(CodeGenOptLevel::Default);
  builder->setRelocationModel(Reloc::PIC_);
  return builder->createTargetMachine();
}

std::string vernier::host::hostChip() {
  std::string chip = sys::getHostCPUName().str();
  std::vector<std::string> on;
  for (auto &feature : sys::getHostCPUFeatures())
    if (feature.second)
      on.push_back(feature.first().str());
  llvm::sort(on);
  for (const std::string &feature : on)
    chip += "+" + feature;
  return chip;
}

/// `name`.packed(ptr operands): unpacks pointers and calls the C wrapper of `name`.
static void addPackedEntry(llvm::Module &module, llvm::Function &wrapper, StringRef name) {
  LLVMContext &context = module.getContext();
  IRBuilder<> b(context);
  Type *pointer = b.getPtrTy();
  auto *packed = llvm::Function::Create(FunctionType::get(b.getVoidTy(), {pointer}, false), GlobalValue::ExternalLinkage,
                                        name + ".packed", module);
  b.SetInsertPoint(BasicBlock::Create(context, "entry", packed));
  auto slot = [&](unsigned i) { return b.CreateLoad(pointer, b.CreateConstInBoundsGEP1_64(pointer, packed->getArg(0), i)); };
  SmallVector<llvm::Value *> operands;
  for (llvm::Argument &argument : wrapper.args()) {
    llvm::Value *operand = slot(argument.getArgNo());
    if (!argument.getType()->isPointerTy())
      operand = b.CreateLoad(argument.getType(), operand);
    operands.push_back(operand);
  }
  llvm::Value *result = b.CreateCall(&wrapper, operands);
  if (!wrapper.getReturnType()->isVoidTy())
    b.CreateStore(result, slot(wrapper.arg_size()));
  b.CreateRetVoid();
}

static Expected<std::unique_ptr<llvm::Module>> optimize(mlir::ModuleOp source, LLVMContext &context, TargetMachine &machine) {
  std::unique_ptr<llvm::Module> module = mlir::translateModuleToLLVMIR(source, context);
  if (!module)
    return createStringError("translation to LLVM IR failed");
  module->setTargetTriple(machine.getTargetTriple());
  module->setDataLayout(machine.createDataLayout());
  std::vector<llvm::Function *> wrappers;
  for (llvm::Function &function : *module) {
    if (function.isDeclaration())
      continue;
    function.addFnAttr("target-cpu", machine.getTargetCPU());
    function.addFnAttr("target-features", machine.getTargetFeatureString());
    function.addFnAttr("prefer-vector-width", "512");
    if (function.getName().starts_with("_mlir_ciface_"))
      wrappers.push_back(&function);
    else
      function.setLinkage(GlobalValue::InternalLinkage);
  }
  for (llvm::Function *wrapper : wrappers) {
    addPackedEntry(*module, *wrapper, wrapper->getName().drop_front(StringRef("_mlir_ciface_").size()));
    wrapper->setLinkage(GlobalValue::InternalLinkage);
  }
  PassBuilder passes(&machine);
  LoopAnalysisManager loops;
  FunctionAnalysisManager functions;
  CGSCCAnalysisManager graph;
  ModuleAnalysisManager modules;
  passes.registerModuleAnalyses(modules);
  passes.registerCGSCCAnalyses(graph);
  passes.registerFunctionAnalyses(functions);
  passes.registerLoopAnalyses(loops);
  passes.crossRegisterProxies(loops, functions, graph, modules);
  passes.buildPerModuleDefaultPipeline(OptimizationLevel::O2).run(*module, modules);
  return module;
}

Expected<std::string> vernier::host::compileObject(mlir::ModuleOp source) {
  auto machine = makeMachine();
  if (!machine)
    return machine.takeError();
  LLVMContext context;
  auto module = optimize(source, context, **machine);
  if (!module)
    return module.takeError();
  SmallVector<char, 0> object;
  raw_svector_ostream stream(object);
  legacy::PassManager emit;
  if ((*machine)->addPassesToEmitFile(emit, stream, nullptr, CodeGenFileType::ObjectFile))
    return createStringError("this machine's target cannot emit object files");
  emit.run(**module);
  return std::string(object.begin(), object.end());
}
