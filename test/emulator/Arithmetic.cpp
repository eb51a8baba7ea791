// Arithmetic, comparisons and selections of a thread's registers.
#include "test/emulator/Machine.h"
#include "test/emulator/Numbers.h"

#include <algorithm>
#include <type_traits>

using namespace vernier::emulator;
using Run = std::function<void(Warp &, const Instruction &, uint32_t)>;

namespace {
template <typename D, typename S, typename F> Run map1(F f) {
  return [f](Warp &warp, const Instruction &i, uint32_t mask) {
    S a[kLanes];
    D d[kLanes];
    warp.read(i.operands[1], a);
    for (unsigned l = 0; l < kLanes; ++l)
      d[l] = f(a[l]);
    warp.write(i.operands[0], d, mask);
  };
}

template <typename D, typename S, typename T, typename F> Run map2(F f) {
  return [f](Warp &warp, const Instruction &i, uint32_t mask) {
    S a[kLanes];
    T b[kLanes];
    D d[kLanes];
    warp.read(i.operands[1], a);
    warp.read(i.operands[2], b);
    for (unsigned l = 0; l < kLanes; ++l)
      if (mask >> l & 1)
        d[l] = f(a[l], b[l]);
    warp.write(i.operands[0], d, mask);
  };
}

template <typename D, typename S, typename T, typename U, typename F> Run map3(F f) {
  return [f](Warp &warp, const Instruction &i, uint32_t mask) {
    S a[kLanes];
    T b[kLanes];
    U c[kLanes];
    D d[kLanes];
    warp.read(i.operands[1], a);
    warp.read(i.operands[2], b);
    warp.read(i.operands[3], c);
    for (unsigned l = 0; l < kLanes; ++l)
      if (mask >> l & 1)
        d[l] = f(a[l], b[l], c[l]);
    warp.write(i.operands[0], d, mask);
  };
}

/// Calls with a value of the type that a suffix names; false for no integer's.
template <typename F> bool withInteger(const std::string &type, F f) {
  if (type == "u16" || type == "b16")
    f(uint16_t());
  else if (type == "s16")
    f(int16_t());
  else if (type == "u32" || type == "b32")
    f(uint32_t());
  else if (type == "s32")
    f(int32_t());
  else if (type == "u64" || type == "b64")
    f(uint64_t());
  else if (type == "s64")
    f(int64_t());
  else
    return false;
  return true;
}

template <typename F> bool intBinary(const std::string &type, Run &run, F f) {
  return withInteger(type, [&](auto zero) {
    using T = decltype(zero);
    run = map2<T, T, T>([f](T a, T b) { return T(f(a, b)); });
  });
}

/// Of one or two narrow numbers in a register.
template <typename F> uint32_t packed(bool two, FloatFormat format, uint32_t a, uint32_t b, uint32_t c, F f) {
  uint32_t result = 0;
  for (int i = 0; i < (two ? 2 : 1); ++i)
    result |= encode(f(decode(a >> 16 * i & 0xffff, format), decode(b >> 16 * i & 0xffff, format),
                       decode(c >> 16 * i & 0xffff, format)),
                     format)
              << 16 * i;
  return result;
}

double least(double a, double b, bool spreads) {
  if (std::isnan(a) || std::isnan(b))
    return spreads || (std::isnan(a) && std::isnan(b)) ? std::nan("") : std::isnan(a) ? b : a;
  return a == b ? (std::signbit(a) ? a : b) : std::min(a, b);
}
double most(double a, double b, bool spreads) { return -least(-a, -b, spreads); }

bool floating(const std::string &type) { return type[0] == 'f' || type.rfind("bf", 0) == 0; }

/// f(a, b, c) of any floating-point type, in double; exact but for the last rounding.
template <typename F> Run narrowOperation(const Instruction &i, const std::string &type, int operands, F f) {
  FloatFormat format = type[0] == 'b' ? kBFloat : kHalf;
  bool two = type.find("x2") != std::string::npos;
  if (operands == 1)
    return map1<uint32_t, uint32_t>([=](uint32_t a) { return packed(two, format, a, 0, 0, f); });
  if (operands == 2)
    return map2<uint32_t, uint32_t, uint32_t>([=](uint32_t a, uint32_t b) { return packed(two, format, a, b, 0, f); });
  return map3<uint32_t, uint32_t, uint32_t, uint32_t>(
      [=](uint32_t a, uint32_t b, uint32_t c) { return packed(two, format, a, b, c, f); });
}

bool defineFloating(Instruction &i, const std::string &name, const std::string &type) {
  Run &run = i.run;
  bool spreads = i.has("NaN"), single = type == "f32", wide = type == "f64";
  auto both = [&](auto f) { // of two operands
    if (single)
      run = map2<float, float, float>([f](float a, float b) { return canonical(f(a, b)); });
    else if (wide)
      run = map2<double, double, double>([f](double a, double b) { return f(a, b); });
    else
      run = narrowOperation(i, type, 2, [f](double a, double b, double) { return f(a, b); });
  };
  auto one = [&](auto f) {
    if (single)
      run = map1<float, float>([f](float a) { return f(a); });
    else if (wide)
      run = map1<double, double>([f](double a) { return f(a); });
    else
      run = narrowOperation(i, type, 1, [f](double a, double, double) { return f(a); });
  };
  if (i.has("ftz") && name != "rcp" && name != "ex2")
    return false;
  if (name == "add")
    both([](auto a, auto b) { return a + b; });
  else if (name == "sub")
    both([](auto a, auto b) { return a - b; });
  else if (name == "mul")
    both([](auto a, auto b) { return a * b; });
  else if (name == "div")
    both([](auto a, auto b) { return a / b; });
  else if (name == "max")
    both([=](auto a, auto b) { return decltype(a)(most(a, b, spreads)); });
  else if (name == "min")
    both([=](auto a, auto b) { return decltype(a)(least(a, b, spreads)); });
  else if (name == "neg")
    one([](auto a) { return -a; });
  else if (name == "abs")
    one([](auto a) { return std::fabs(a); });
  else if (name == "sqrt")
    one([](auto a) { return std::sqrt(a); });
  else if (name == "rsqrt" && single)
    one([](auto a) { return decltype(a)(1 / std::sqrt(double(a))); });
  else if (name == "ex2" && single)
    one([](auto a) { return decltype(a)(std::exp2(double(a))); });
  else if (name == "lg2" && single)
    one([](auto a) { return decltype(a)(std::log2(double(a))); });
  else if (name == "tanh" && single)
    one([](auto a) { return std::tanh(a); });
  else if (name == "rcp" && (single || wide)) {
    bool flushes = i.has("ftz");
    one([flushes](auto a) {
      auto flush = [&](auto v) { return flushes && std::fabs(v) < std::numeric_limits<float>::min() ? v * 0 : v; };
      return flush(1 / flush(a));
    });
  } else if (name == "fma" || (name == "mad" && floating(type))) {
    if (single)
      run = map3<float, float, float, float>([](float a, float b, float c) { return canonical(std::fmaf(a, b, c)); });
    else if (wide)
      run = map3<double, double, double, double>([](double a, double b, double c) { return std::fma(a, b, c); });
    else
      run = narrowOperation(i, type, 3, fusedToOdd);
  } else
    return false;
  return true;
}

template <typename T> bool holds(const std::string &comparison, T a, T b) {
  bool unordered = a != a || b != b;
  if (comparison == "eq")
    return !unordered && a == b;
  if (comparison == "ne")
    return !unordered && a != b;
  if (comparison == "lt" || comparison == "lo")
    return a < b;
  if (comparison == "le" || comparison == "ls")
    return a <= b;
  if (comparison == "gt" || comparison == "hi")
    return a > b;
  if (comparison == "ge" || comparison == "hs")
    return a >= b;
  if (comparison == "equ")
    return unordered || a == b;
  if (comparison == "neu")
    return unordered || a != b;
  if (comparison == "ltu")
    return unordered || a < b;
  if (comparison == "leu")
    return unordered || a <= b;
  if (comparison == "gtu")
    return unordered || a > b;
  if (comparison == "geu")
    return unordered || a >= b;
  if (comparison == "num")
    return !unordered;
  return unordered; // nan
}

template <typename S, typename F> Run comparing(std::string comparison, F number) {
  // The order of names is resolved once, not for every thread.
  using N = decltype(number(S()));
  bool (*test)(const std::string &, N, N) = holds<N>;
  return [comparison, number, test](Warp &warp, const Instruction &i, uint32_t mask) {
    S a[kLanes], b[kLanes];
    warp.read(i.operands[1], a);
    warp.read(i.operands[2], b);
    uint32_t result = 0;
    for (unsigned l = 0; l < kLanes; ++l)
      if (mask >> l & 1)
        result |= uint32_t(test(comparison, number(a[l]), number(b[l]))) << l;
    if (i.operands.size() > 3) { // combined with another
      uint32_t other = warp.readPredicate(i.operands[3]);
      result = i.has("and") ? result & other : i.has("or") ? result | other : result ^ other;
    }
    warp.writePredicate(i.operands[0], result, mask);
  };
}

bool defineComparison(Instruction &i, const std::string &type) {
  const std::string &comparison = i.opcode[1];
  static const char *const known[] = {"eq", "ne",  "lt",  "le",  "gt",  "ge",  "lo",  "ls",  "hi",
                                      "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"};
  if (std::find(std::begin(known), std::end(known), comparison) == std::end(known))
    return false;
  auto same = [](auto v) { return v; };
  if (type == "f32")
    i.run = comparing<float>(comparison, same);
  else if (type == "f64")
    i.run = comparing<double>(comparison, same);
  else if (type == "bf16")
    i.run = comparing<uint32_t>(comparison, [](uint32_t v) { return bfloat(v & 0xffff); });
  else if (type == "f16")
    i.run = comparing<uint32_t>(comparison, [](uint32_t v) { return half(v); });
  else
    return withInteger(type, [&](auto zero) { i.run = comparing<decltype(zero)>(comparison, same); });
  return true;
}

/// Logic on predicates.
bool definePredicates(Instruction &i, const std::string &name) {
  static const std::map<std::string, uint32_t (*)(uint32_t, uint32_t)> known{
      {"and", [](uint32_t a, uint32_t b) { return a & b; }}, {"or", [](uint32_t a, uint32_t b) { return a | b; }},
      {"xor", [](uint32_t a, uint32_t b) { return a ^ b; }}, {"not", [](uint32_t a, uint32_t) { return ~a; }},
      {"mov", [](uint32_t a, uint32_t) { return a; }},
  };
  auto found = known.find(name);
  if (found == known.end())
    return false;
  i.run = [f = found->second](Warp &warp, const Instruction &i, uint32_t mask) {
    uint32_t second = i.operands.size() > 2 ? warp.readPredicate(i.operands[2]) : 0;
    warp.writePredicate(i.operands[0], f(warp.readPredicate(i.operands[1]), second), mask);
  };
  return true;
}

template <typename T> T shifted(T a, uint32_t by, bool left) {
  constexpr uint32_t bits = sizeof(T) * 8;
  if (left)
    return by >= bits ? T(0) : T(std::make_unsigned_t<T>(a) << by);
  return by >= bits ? T(a < 0 ? -1 : 0) : T(a >> by);
}

bool defineInteger(Instruction &i, const std::string &name, const std::string &type) {
  Run &run = i.run;
  if (name == "add")
    return intBinary(
        type, run, [](auto a, auto b) { return std::make_unsigned_t<decltype(a)>(a) + std::make_unsigned_t<decltype(a)>(b); });
  if (name == "sub")
    return intBinary(
        type, run, [](auto a, auto b) { return std::make_unsigned_t<decltype(a)>(a) - std::make_unsigned_t<decltype(a)>(b); });
  if (name == "and")
    return intBinary(type, run, [](auto a, auto b) { return a & b; });
  if (name == "or")
    return intBinary(type, run, [](auto a, auto b) { return a | b; });
  if (name == "xor")
    return intBinary(type, run, [](auto a, auto b) { return a ^ b; });
  if (name == "min")
    return intBinary(type, run, [](auto a, auto b) { return std::min(a, b); });
  if (name == "max")
    return intBinary(type, run, [](auto a, auto b) { return std::max(a, b); });
  if (name == "div")
    return intBinary(type, run, [](auto a, auto b) { return b == 0 ? decltype(a)(-1) : decltype(a)(a / b); });
  if (name == "rem")
    return intBinary(type, run, [](auto a, auto b) { return b == 0 ? a : decltype(a)(a % b); });
  if (name == "not")
    return withInteger(type, [&](auto z) {
      using T = decltype(z);
      run = map1<T, T>([](T a) { return T(~a); });
    });
  if (name == "neg")
    return withInteger(type, [&](auto z) {
      using T = decltype(z);
      run = map1<T, T>([](T a) { return T(0 - std::make_unsigned_t<T>(a)); });
    });
  if (name == "abs")
    return withInteger(type, [&](auto z) {
      using T = decltype(z);
      run = map1<T, T>([](T a) { return a < 0 ? T(0 - std::make_unsigned_t<T>(a)) : a; });
    });
  if (name == "popc")
    return withInteger(type, [&](auto z) {
      using T = std::make_unsigned_t<decltype(z)>;
      run = map1<uint32_t, T>([](T a) { return uint32_t(std::popcount(a)); });
    });
  if (name == "clz")
    return withInteger(type, [&](auto z) {
      using T = std::make_unsigned_t<decltype(z)>;
      run = map1<uint32_t, T>([](T a) { return uint32_t(std::countl_zero(a)); });
    });
  if (name == "shl" || name == "shr")
    return withInteger(type, [&, left = name == "shl"](auto z) {
      using T = decltype(z);
      run = map2<T, T, uint32_t>([left](T a, uint32_t by) { return shifted(a, by, left); });
    });
  if (name == "mul" || name == "mad") {
    bool adds = name == "mad", wide = i.has("wide"), high = i.has("hi");
    return withInteger(type, [&](auto z) {
      using T = decltype(z);
      using Product = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
      auto product = [=](T a, T b) { return Product(a) * Product(b) >> (high ? sizeof(T) * 8 : 0); };
      if (wide && sizeof(T) < 8) {
        using W = std::conditional_t<sizeof(T) == 2, uint32_t, uint64_t>;
        if (adds)
          run = map3<W, T, T, W>([=](T a, T b, W c) { return W(W(product(a, b)) + c); });
        else
          run = map2<W, T, T>([=](T a, T b) { return W(product(a, b)); });
      } else if (adds)
        run = map3<T, T, T, T>(
            [=](T a, T b, T c) { return T(std::make_unsigned_t<T>(product(a, b)) + std::make_unsigned_t<T>(c)); });
      else
        run = map2<T, T, T>([=](T a, T b) { return T(product(a, b)); });
    });
  }
  if (name == "bfe")
    return withInteger(type, [&](auto z) {
      using T = decltype(z);
      run = map3<T, T, uint32_t, uint32_t>([](T a, uint32_t at, uint32_t length) {
        constexpr uint32_t bits = sizeof(T) * 8;
        at &= 255, length &= 255;
        if (!length)
          return T(0);
        uint32_t above = at + length >= bits ? 0 : bits - at - length;
        T top = shifted(a, above, true);
        return shifted(top, std::min(bits - 1, above + at), false);
      });
    });
  if (name == "bfi") { // d = a into b, at c, of length d
    i.run = [](Warp &warp, const Instruction &i, uint32_t mask) {
      uint32_t a[kLanes], b[kLanes], at[kLanes], length[kLanes], d[kLanes];
      warp.read(i.operands[1], a), warp.read(i.operands[2], b), warp.read(i.operands[3], at), warp.read(i.operands[4], length);
      for (unsigned l = 0; l < kLanes; ++l) {
        uint32_t field = shifted(length[l] >= 32 ? ~0u : (1u << length[l]) - 1, at[l], true);
        d[l] = (b[l] & ~field) | (shifted(a[l], at[l], true) & field);
      }
      warp.write(i.operands[0], d, mask);
    };
    return type == "b32";
  }
  if (name == "shf" && type == "b32") {
    bool left = i.has("l"), wraps = i.has("wrap");
    run = map3<uint32_t, uint32_t, uint32_t, uint32_t>([=](uint32_t low, uint32_t high, uint32_t by) {
      by = wraps ? by & 31 : std::min(by, 32u);
      uint64_t both = uint64_t(high) << 32 | low;
      return left ? uint32_t(both << by >> 32) : uint32_t(both >> by);
    });
    return true;
  }
  if (name == "lop3" && type == "b32") {
    uint64_t table = i.operands.at(4).value;
    run = map3<uint32_t, uint32_t, uint32_t, uint32_t>([table](uint32_t a, uint32_t b, uint32_t c) {
      uint32_t d = 0;
      for (int row = 0; row < 8; ++row)
        if (table >> row & 1)
          d |= (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
      return d;
    });
    return true;
  }
  return false;
}
} // namespace

bool vernier::emulator::defineArithmetic(Instruction &i) {
  const std::string &name = i.opcode[0], &type = i.opcode.back();
  if (name == "setp")
    return defineComparison(i, type);
  if (type == "pred")
    return definePredicates(i, name);
  if (name == "selp") {
    i.run = [](Warp &warp, const Instruction &i, uint32_t mask) {
      uint64_t a[kLanes], b[kLanes];
      uint32_t chosen = warp.readPredicate(i.operands[3]);
      warp.read(i.operands[1], a);
      warp.read(i.operands[2], b);
      warp.write(i.operands[0], a, mask & chosen);
      warp.write(i.operands[0], b, mask & ~chosen);
    };
    return true;
  }
  return floating(type) ? defineFloating(i, name, type) : defineInteger(i, name, type);
}
