#include "compiler/Target/Host/Loader.h"

#include "llvm/ExecutionEngine/Orc/ExecutionUtils.h"
#include "llvm/ExecutionEngine/Orc/LLJIT.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/TargetSelect.h"

#include <mutex>

using namespace vernier;

static std::string text(llvm::Error error) { return llvm::toString(std::move(error)); }

runtime::Result<std::unique_ptr<runtime::HostProgram>> vernier::host::load(std::shared_ptr<const runtime::Artifact> artifact) {
  static std::once_flag once;
  std::call_once(once, [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
  });
  auto jit = llvm::orc::LLJITBuilder().create();
  if (!jit)
    return runtime::Error{"cannot start the host loader: " + text(jit.takeError())};
  // libm's functions come from the process.
  auto process = llvm::orc::DynamicLibrarySearchGenerator::GetForCurrentProcess((*jit)->getDataLayout().getGlobalPrefix());
  if (!process)
    return runtime::Error{"cannot search the process for symbols: " + text(process.takeError())};
  (*jit)->getMainJITDylib().addGenerator(std::move(*process));
  auto buffer = llvm::MemoryBuffer::getMemBufferCopy(artifact->code, artifact->name);
  if (llvm::Error error = (*jit)->addObjectFile(std::move(buffer)))
    return runtime::Error{"cannot link " + artifact->name + ": " + text(std::move(error))};
  std::vector<runtime::HostProgram::Entry> entries;
  for (const runtime::KernelSpec &kernel : artifact->kernels) {
    runtime::HostProgram::Entry entry;
    for (auto [suffix, target] : {std::pair(".packed", &entry.run), std::pair(".tasks.packed", &entry.count)}) {
      auto symbol = (*jit)->lookup(kernel.launches.front().entry + suffix);
      if (!symbol)
        return runtime::Error{"kernel " + kernel.name + " is missing from its artifact: " + text(symbol.takeError())};
      *target = symbol->toPtr<void (*)(void **)>();
    }
    entries.push_back(entry);
  }
  std::shared_ptr<void> owner(jit->release(), [](void *p) { delete static_cast<llvm::orc::LLJIT *>(p); });
  return std::make_unique<runtime::HostProgram>(std::move(artifact), std::move(entries), std::move(owner));
}
