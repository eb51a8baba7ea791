// vernier-compile: takes a module from one phase to another, dumps phases, compiles, and runs on the host.
#include "compiler/API/Compiler.h"
#include "runtime/Bundle.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>

using namespace vernier;

namespace {
struct Arguments {
  std::string input, from = "input", until, dumpDir, output, bundle;
  bool runHost = false, help = false;
  int64_t rows = 4;
  CompileOptions options;
};
} // namespace

static void usage(std::ostream &os) {
  os << "usage: vernier-compile [options] [FILE]\n"
        "Takes a module of one function (FILE, or standard input) through the phases of compilation.\n\n"
        "  --from PHASE       the phase the module is in (input)\n"
        "  --until PHASE      stop there and print the module; without it, compile\n"
        "  --dump-dir DIR     write every phase on the way to DIR/<name><suffix>\n"
        "  --run-host         compile, run on this machine with made-up arguments, print the results\n"
        "  --rows N           run-time sizes for --run-host (4)\n"
        "  --max-kernels N    refuse to form more kernels\n"
        "  --no-fuse          a kernel for every operation, for comparison\n"
        "  --target TARGET    host or sm_90a (host)\n"
        "  --ptxas FILE       NVIDIA's assembler; without it, $VERNIER_PTXAS, $CUDA_HOME, the path\n"
        "  --bundle DIR       add the artifact to a bundle, from which runtimes load it without the compiler\n"
        "  -o FILE            write the object file or the cubin there\n\n"
        "phases:\n";
  for (const PhaseInfo &phase : listPhases())
    os << "  " << phase.name << std::string(19 - phase.name.size(), ' ') << phase.description << "\n";
}

static int fail(const std::string &message) {
  std::cerr << "vernier-compile: error: " << message << "\n";
  return 1;
}

static bool parseNumber(const std::string &text, int64_t &value) {
  char *end = nullptr;
  value = std::strtoll(text.c_str(), &end, 10);
  return !text.empty() && *end == 0 && value >= 0;
}

static std::string parseArguments(int argc, char **argv, Arguments &args) {
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i], value;
    if (word.rfind("--", 0) == 0)
      if (size_t equals = word.find('='); equals != std::string::npos) {
        value = word.substr(equals + 1);
        word = word.substr(0, equals);
      }
    auto take = [&](std::string &into) {
      if (value.empty() && i + 1 < argc)
        value = argv[++i];
      into = value;
      return !value.empty();
    };
    std::string number;
    bool good = true;
    if (word == "--from")
      good = take(args.from);
    else if (word == "--until")
      good = take(args.until);
    else if (word == "--dump-dir")
      good = take(args.dumpDir);
    else if (word == "--target")
      good = take(args.options.target);
    else if (word == "--bundle")
      good = take(args.bundle);
    else if (word == "--ptxas")
      good = take(args.options.ptxas);
    else if (word == "-o")
      good = take(args.output);
    else if (word == "--rows")
      good = take(number) && parseNumber(number, args.rows);
    else if (word == "--max-kernels")
      good = take(number) && parseNumber(number, args.options.maxKernels);
    else if (word == "--no-fuse")
      args.options.fuse = false;
    else if (word == "--run-host")
      args.runHost = true;
    else if (word == "--help" || word == "-h")
      args.help = true;
    else if (word[0] == '-' && word != "-")
      return "unknown option " + word + "; see --help";
    else
      args.input = word;
    if (!good)
      return "option " + word + " needs a value";
  }
  return "";
}

// --- made-up arguments and printed results ---

static void fill(const std::string &element, std::vector<char> &bytes, int64_t limit) {
  size_t count = bytes.size() / runtime::elementBytes(element);
  for (size_t i = 0; i < count; ++i) {
    float value = float(int64_t(i * 7 % 31) - 15) / 4;
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    if (element == "f32")
      std::memcpy(&bytes[4 * i], &bits, 4);
    else if (element == "bf16")
      bytes[2 * i] = char(bits >> 16), bytes[2 * i + 1] = char(bits >> 24);
    else if (element == "i32") {
      int32_t index = int32_t(limit ? i % size_t(limit) : 0);
      std::memcpy(&bytes[4 * i], &index, 4);
    } else if (element == "i8")
      bytes[i] = char(120 + i % 8);
  }
}

static void printBuffer(const std::string &element, const std::vector<char> &bytes, const runtime::Shape &shape) {
  std::printf("  %s [", element.c_str());
  for (size_t i = 0; i < shape.size(); ++i)
    std::printf("%s%lld", i ? "," : "", static_cast<long long>(shape[i]));
  std::printf("]:");
  size_t width = runtime::elementBytes(element), count = std::min<size_t>(bytes.size() / width, 16);
  for (size_t i = 0; i < count; ++i) {
    if (element == "f32") {
      float value;
      std::memcpy(&value, &bytes[4 * i], 4);
      std::printf(" %g", double(value));
    } else if (element == "bf16") {
      uint32_t bits = uint32_t(uint8_t(bytes[2 * i])) << 16 | uint32_t(uint8_t(bytes[2 * i + 1])) << 24;
      float value;
      std::memcpy(&value, &bits, 4);
      std::printf(" %g", double(value));
    } else if (element == "i32") {
      int32_t value;
      std::memcpy(&value, &bytes[4 * i], 4);
      std::printf(" %d", value);
    } else {
      for (size_t j = 0; j < width; ++j)
        std::printf("%s%02x", j ? "" : " ", uint8_t(bytes[i * width + j]));
    }
  }
  std::printf("%s\n", bytes.size() / width > 16 ? " ..." : "");
}

static int runHost(std::shared_ptr<const runtime::Artifact> artifact, int64_t rows) {
  auto program = loadHost(artifact);
  if (!program)
    return fail(program.error().message);
  // Run-time sizes of arguments are `rows`; sizes that must be equal then are.
  std::vector<runtime::ValueView> arguments, results;
  std::vector<runtime::Shape> shapes(artifact->arguments.size());
  for (size_t i = 0; i < artifact->arguments.size(); ++i)
    for (const runtime::SizeExpr &size : artifact->arguments[i].shape)
      shapes[i].push_back(size.terms[0].argument < 0 ? size.terms[0].constant : rows);
  std::vector<std::vector<char>> storage(artifact->buffers.size());
  auto view = [&](const runtime::ValueSpec &spec, runtime::Shape shape) {
    runtime::ValueView value{std::move(shape), {}};
    for (int buffer : spec.buffers) {
      size_t bytes = runtime::elementBytes(artifact->buffers[buffer].element);
      for (int64_t size : (*program)->bufferShape(buffer, shapes))
        bytes *= size_t(size);
      storage[buffer].resize(bytes);
      value.buffers.push_back(storage[buffer].data());
    }
    return value;
  };
  for (size_t i = 0; i < shapes.size(); ++i) {
    arguments.push_back(view(artifact->arguments[i], shapes[i]));
    for (int buffer : artifact->arguments[i].buffers)
      fill(artifact->buffers[buffer].element, storage[buffer], rows);
  }
  if (auto status = (*program)->check(arguments); !status)
    return fail(status.error().message);
  std::vector<runtime::Shape> resultShapes = (*program)->resultShapes(arguments);
  for (size_t i = 0; i < resultShapes.size(); ++i)
    results.push_back(view(artifact->results[i], resultShapes[i]));
  if (auto status = (*program)->run(arguments, results); !status)
    return fail(status.error().message);
  for (size_t i = 0; i < results.size(); ++i) {
    std::printf("result %zu: %s\n", i, artifact->results[i].type.c_str());
    for (int buffer : artifact->results[i].buffers)
      printBuffer(artifact->buffers[buffer].element, storage[buffer], (*program)->bufferShape(buffer, shapes));
  }
  return 0;
}

int main(int argc, char **argv) {
  Arguments args;
  if (std::string problem = parseArguments(argc, argv, args); !problem.empty())
    return fail(problem);
  if (args.help) {
    usage(std::cout);
    return 0;
  }
  std::ostringstream text;
  if (args.input.empty() || args.input == "-") {
    text << std::cin.rdbuf();
  } else {
    std::ifstream file(args.input);
    if (!file)
      return fail("cannot open " + args.input + ": " + std::strerror(errno));
    text << file.rdbuf();
  }
  bool compiles = args.until.empty();
  if (!args.dumpDir.empty() || !compiles) {
    std::string until = args.until;
    for (const PhaseInfo &phase : listPhases())
      if (compiles && (args.options.target == "host" ? phase.onHost : phase.onGpu))
        until = phase.name;
    auto dumps = lower(text.str(), args.from, until, !args.dumpDir.empty(), args.options);
    if (!dumps)
      return fail(dumps.error().message);
    if (args.dumpDir.empty())
      std::cout << dumps->back().text;
    else
      for (const PhaseDump &dump : *dumps) {
        std::string path = args.dumpDir + "/module" + dump.suffix;
        if (std::ofstream file(path); !(file << dump.text))
          return fail("cannot write " + path + ": " + std::strerror(errno));
      }
    if (!compiles)
      return 0;
  }
  if (args.from != "input")
    return fail("only a module in phase 'input' can be compiled; give --until");
  auto artifact = compile(text.str(), args.options);
  if (!artifact)
    return fail(artifact.error().message);
  if (!args.output.empty())
    if (std::ofstream file(args.output, std::ios::binary); !(file << artifact->code))
      return fail("cannot write " + args.output + ": " + std::strerror(errno));
  if (!args.bundle.empty()) {
    auto key = cacheKey(text.str(), args.options);
    if (!key)
      return fail(key.error().message);
    if (auto status = runtime::addToBundle(args.bundle, *key, *artifact); !status)
      return fail(status.error().message);
  }
  auto shared = std::make_shared<runtime::Artifact>(std::move(*artifact));
  if (args.runHost && shared->target != "host")
    return fail("--run-host needs --target host");
  if (args.runHost)
    return runHost(shared, args.rows);
  for (const runtime::KernelSpec &kernel : shared->kernels) {
    for (const runtime::LaunchSpec &launch : kernel.launches) {
      std::cout << "kernel " << launch.entry << ": " << launch.schedule << "\n";
      if (!launch.registers)
        continue;
      std::cout << "  " << launch.threads << " threads, " << launch.registers << " registers, " << launch.spillBytes
                << " bytes spilled, " << launch.sharedBytes << " bytes of shared memory\n";
      for (const std::string &warning : launch.warnings)
        std::cout << "  " << warning << "\n";
    }
    for (const std::string &reason : kernel.reasons)
      std::cout << "  " << reason << "\n";
  }
  return 0;
}
