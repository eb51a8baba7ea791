#include "test/emulator/Ptx.h"

#include <algorithm>
#include <cctype>
#include <set>

using namespace vernier::emulator;

bool Instruction::has(const std::string &part) const { return std::find(opcode.begin(), opcode.end(), part) != opcode.end(); }

namespace {
std::vector<std::string> split(const std::string &text, char at) {
  std::vector<std::string> parts(1);
  for (char c : text)
    if (c == at)
      parts.emplace_back();
    else
      parts.back() += c;
  return parts;
}

/// Words, numbers and signs of a text, without comments.
class Scanner {
public:
  explicit Scanner(const std::string &text) : text(text) { next(); }

  std::string token; ///< empty at the end.
  int line = 1;

  void next() {
    skip();
    token.clear();
    if (at >= text.size())
      return;
    if (!word(text[at])) {
      token = text[at++];
      return;
    }
    while (at < text.size() && (word(text[at]) || (text[at] == ':' && at + 1 < text.size() && text[at + 1] == ':'))) {
      if (text[at] == ':')
        token += text[at++];
      token += text[at++];
    }
  }
  bool accept(const std::string &wanted) {
    if (token != wanted)
      return false;
    next();
    return true;
  }
  void expect(const std::string &wanted) {
    if (!accept(wanted))
      throw Failure("line " + std::to_string(line) + ": expected '" + wanted + "', but got '" + token + "'");
  }
  std::string take() {
    std::string taken = token;
    next();
    return taken;
  }
  void skipTo(const std::string &end) {
    while (!token.empty() && token != end)
      next();
    expect(end);
  }

private:
  static bool word(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '$' || c == '%' || c == '.';
  }
  void skip() {
    while (at < text.size()) {
      if (text.compare(at, 2, "//") == 0)
        at = std::min(text.find('\n', at), text.size());
      else if (std::isspace(static_cast<unsigned char>(text[at]))) {
        line += text[at] == '\n';
        ++at;
      } else
        return;
    }
  }

  const std::string &text;
  size_t at = 0;
};

class Parser {
public:
  explicit Parser(const std::string &text) : in(text) {}

  std::map<std::string, std::shared_ptr<const Kernel>> module() {
    std::map<std::string, std::shared_ptr<const Kernel>> kernels;
    while (!in.token.empty()) {
      std::string word = in.take();
      if (word == ".version" || word == ".target" || word == ".address_size")
        in.take();
      else if (word == ".extern" || word == ".shared")
        shared(word);
      else if (word == ".visible" || word == ".weak" || word == ";" || word == ",")
        continue;
      else if (word == ".entry") {
        auto kernel = entry();
        kernels[kernel->name] = kernel;
      } else
        throw Failure("line " + std::to_string(in.line) + ": '" + word + "' is not known outside of kernels");
    }
    return kernels;
  }

private:
  /// `.extern .shared .align 1024 .b8 name[];`: memory whose size a launch says, behind what has a size.
  void shared(const std::string &first) {
    bool sized = first != ".extern";
    uint32_t align = 1, bytes = 0;
    std::string name;
    while (!in.accept(";")) {
      std::string word = in.take();
      if (word == ".align")
        align = uint32_t(std::stoul(in.take()));
      else if (word == "[" && in.token != "]")
        bytes = uint32_t(std::stoul(in.take()));
      else if (word[0] != '.' && word != "[" && word != "]")
        name = word;
    }
    if (sized)
      throw Failure("shared memory of a fixed size (" + name + ", " + std::to_string(bytes) + " bytes) is not known");
    sharedNames[name] = (kSharedBegin + align - 1) / align * align;
  }

  std::shared_ptr<Kernel> entry() {
    auto made = std::make_shared<Kernel>();
    kernel = made.get();
    kernel->name = in.take();
    scopes.assign(1, {});
    labels.clear();
    in.expect("(");
    while (!in.accept(")")) {
      in.expect(".param");
      parameter();
      in.accept(",");
    }
    while (in.token != "{") {
      std::string word = in.take();
      if (word == ".maxntid")
        kernel->mostThreads = unsigned(std::stoul(in.take()));
      else if (word == ".reqnctapercluster")
        kernel->cluster = unsigned(std::stoul(in.take()));
      else if (word == ".minnctapersm" || word == ".maxnreg")
        in.take();
      else if (word != ".explicitcluster" && word != ",")
        throw Failure(kernel->name + ": '" + word + "' is not known before a kernel's body");
    }
    in.expect("{");
    body();
    for (Instruction &instruction : kernel->code) {
      for (Operand &operand : instruction.operands)
        if (operand.kind == Operand::Label) {
          auto found = labels.find(operand.name);
          if (found == labels.end())
            throw Failure(kernel->name + ": no label " + operand.name);
          operand.number = found->second;
        }
      kernel->waits |= instruction.opcode[0] == "griddepcontrol" && instruction.has("wait");
      define(instruction);
    }
    return made;
  }

  void parameter() {
    static const std::map<std::string, uint32_t> sizes{{".u64", 8}, {".b64", 8}, {".u32", 4},
                                                       {".b32", 4}, {".f32", 4}, {".b8", 1}};
    uint32_t align = 0, bytes = 0;
    std::string name;
    while (in.token != "," && in.token != ")") {
      std::string word = in.take();
      if (word == ".align") {
        uint32_t given = uint32_t(std::stoul(in.take()));
        if (!name.empty() || !bytes)
          align = given;
      } else if (word == "[") {
        bytes *= uint32_t(std::stoul(in.take()));
        in.expect("]");
      } else if (sizes.count(word))
        bytes = sizes.at(word);
      else if (word[0] != '.')
        name = word;
      else if (word != ".ptr" && word != ".global")
        throw Failure(kernel->name + ": parameters of kind '" + word + "' are not known");
    }
    align = std::max(align, std::min<uint32_t>(bytes, 8));
    uint32_t offset = (kernel->parameterBytes + align - 1) / align * align;
    Operand operand;
    operand.kind = Operand::Parameter, operand.number = offset;
    scopes[0][name] = operand;
    kernel->parameters.push_back({offset, bytes});
    kernel->parameterBytes = offset + bytes;
  }

  void body() {
    while (scopes.size() > 0) {
      if (in.accept("{")) {
        scopes.emplace_back();
        scopeNumbers.push_back(++scopeCount);
      } else if (in.accept("}")) {
        scopes.pop_back();
        if (!scopeNumbers.empty())
          scopeNumbers.pop_back();
      } else if (in.accept(".reg"))
        registers();
      else if (in.token == ".pragma" || in.token == ".loc" || in.token == ".file")
        in.skipTo(";");
      else if (in.token.empty())
        throw Failure(kernel->name + ": its body does not end");
      else if (!in.accept(";"))
        instruction();
    }
  }

  Operand makeRegister(const std::string &type) {
    Operand operand;
    if (type == ".pred") {
      operand.kind = Operand::Predicate, operand.number = kernel->predicates++;
      return operand;
    }
    operand.kind = Operand::Register;
    operand.wide = type.find("64") != std::string::npos;
    operand.number = kernel->registerBytes;
    kernel->registerBytes += operand.wide ? 256 : 128; // for 32 threads
    return operand;
  }

  void registers() {
    std::string type = in.take();
    do {
      std::string name = in.take();
      if (!in.accept("<")) {
        scopes.back()[name] = makeRegister(type);
        continue;
      }
      unsigned count = unsigned(std::stoul(in.take()));
      in.expect(">");
      for (unsigned i = 0; i < count; ++i)
        scopes.back()[name + std::to_string(i)] = makeRegister(type);
    } while (in.accept(","));
    in.expect(";");
  }

  /// Labels of an inner scope are its own.
  std::string labelName(const std::string &name) const {
    return name[0] == '$' || scopeNumbers.empty() ? name : name + "#" + std::to_string(scopeNumbers.back());
  }

  void instruction() {
    Instruction made;
    if (in.accept("@")) {
      made.guardNegated = in.accept("!");
      made.guard = int(operand().number);
    }
    int line = in.line;
    std::string word = in.take();
    if (in.accept(":")) {
      labels[labelName(word)] = uint32_t(kernel->code.size());
      return;
    }
    made.opcode = split(word, '.');
    made.text = word + " (line " + std::to_string(line) + ")";
    while (!in.accept(";")) {
      made.operands.push_back(made.opcode[0] == "bra" ? label() : operand());
      in.accept(",");
      in.accept("|");
    }
    kernel->code.push_back(std::move(made));
  }

  Operand label() {
    Operand made;
    made.kind = Operand::Label, made.name = labelName(in.take());
    return made;
  }

  Operand operand() {
    Operand made;
    if (in.accept("{")) {
      made.kind = Operand::Vector;
      while (!in.accept("}")) {
        made.parts.push_back(operand());
        in.accept(",");
      }
      return made;
    }
    if (in.accept("[")) {
      made.kind = Operand::Address;
      made.parts.push_back(operand());
      while (!in.accept("]")) {
        if (in.accept(",")) {
          made.parts.push_back(operand());
          continue;
        }
        in.expect("+");
        bool negative = in.accept("-");
        made.offset += (negative ? -1 : 1) * int64_t(std::stoll(in.take(), nullptr, 0));
      }
      return made;
    }
    bool negative = in.accept("-");
    std::string word = in.take();
    if (word == "_")
      return made;
    if (std::isdigit(static_cast<unsigned char>(word[0]))) {
      made.kind = Operand::Immediate;
      bool bits = word.size() > 1 && word[0] == '0' && (word[1] == 'f' || word[1] == 'd');
      made.value = bits ? std::stoull(word.substr(2), nullptr, 16) : std::stoull(word, nullptr, 0);
      made.value = negative ? 0 - made.value : made.value;
      return made;
    }
    for (auto scope = scopes.rbegin(); scope != scopes.rend(); ++scope)
      if (auto found = scope->find(word); found != scope->end())
        return found->second;
    if (auto found = sharedNames.find(word); found != sharedNames.end()) {
      made.kind = Operand::Shared, made.value = found->second;
      return made;
    }
    if (word[0] != '%')
      throw Failure(kernel->name + ", line " + std::to_string(in.line) + ": no name '" + word + "'");
    made.kind = Operand::Special, made.name = word;
    return made;
  }

  Scanner in;
  Kernel *kernel = nullptr;
  std::map<std::string, uint64_t> sharedNames;
  std::vector<std::map<std::string, Operand>> scopes;
  std::vector<unsigned> scopeNumbers;
  unsigned scopeCount = 0;
  std::map<std::string, uint32_t> labels;
};
} // namespace

std::map<std::string, std::shared_ptr<const Kernel>> vernier::emulator::parse(const std::string &text) {
  return Parser(text).module();
}

void vernier::emulator::define(Instruction &instruction) {
  static const std::set<std::string> control{"bra",     "ret",        "exit",           "bar",
                                             "barrier", "setmaxnreg", "griddepcontrol", "nanosleep"};
  const std::string &name = instruction.opcode[0];
  instruction.together = instruction.has("sync") || instruction.has("aligned") || name == "bar" ||
                         (name == "barrier" && instruction.has("cluster"));
  if (control.count(name) || defineArithmetic(instruction) || defineConversion(instruction) || defineMemory(instruction) ||
      defineAsynchronous(instruction) || defineProduct(instruction))
    return;
  throw Failure("the emulator does not know " + instruction.text);
}
