// Conversions between types, and bytes and words put together and taken apart.
#include "test/emulator/Machine.h"
#include "test/emulator/Numbers.h"

#include <algorithm>

using namespace vernier::emulator;

namespace {
struct Type {
  char kind; ///< f, u or s; b is u.
  int bits;
  FloatFormat format{};
};

/// The type that a suffix names; none for packed ones.
std::optional<Type> typeOf(const std::string &name) {
  if (name == "bf16")
    return Type{'f', 16, kBFloat};
  if (name == "f16")
    return Type{'f', 16, kHalf};
  static const std::map<std::string, Type> known{
      {"f32", {'f', 32, kSingle}}, {"f64", {'f', 64}}, {"u8", {'u', 8}},   {"s8", {'s', 8}},
      {"u16", {'u', 16}},          {"s16", {'s', 16}}, {"u32", {'u', 32}}, {"s32", {'s', 32}},
      {"u64", {'u', 64}},          {"s64", {'s', 64}}, {"b8", {'u', 8}},   {"b16", {'u', 16}},
      {"b32", {'u', 32}},          {"b64", {'u', 64}},
  };
  auto found = known.find(name);
  return found == known.end() ? std::nullopt : std::optional(found->second);
}

double asDouble(uint64_t bits, const Type &type) {
  if (type.kind == 'f')
    return type.bits == 64   ? std::bit_cast<double>(bits)
           : type.bits == 32 ? double(std::bit_cast<float>(uint32_t(bits)))
                             : decode(uint32_t(bits & 0xffff), type.format);
  return 0;
}

double roundedAs(double value, const Instruction &i) {
  if (i.has("rzi") || i.has("rz"))
    return std::trunc(value);
  if (i.has("rmi"))
    return std::floor(value);
  if (i.has("rpi"))
    return std::ceil(value);
  return std::nearbyint(value);
}

uint64_t fromDouble(double value, const Type &type) {
  if (type.bits == 64)
    return std::bit_cast<uint64_t>(value);
  if (type.bits == 32)
    return std::bit_cast<uint32_t>(canonical(float(value)));
  return encode(value, type.format);
}

__int128 asInteger(uint64_t bits, const Type &type) {
  if (type.bits == 64)
    return type.kind == 's' ? __int128(int64_t(bits)) : __int128(bits);
  uint64_t low = bits & ((uint64_t(1) << type.bits) - 1);
  bool negative = type.kind == 's' && low >> (type.bits - 1);
  return __int128(low) - (negative ? __int128(1) << type.bits : 0);
}

uint64_t convert(uint64_t bits, const Type &to, const Type &from, const Instruction &i) {
  if (from.kind == 'f' && to.kind == 'f') {
    double value = asDouble(bits, from);
    return fromDouble(i.has("rni") || i.has("rzi") || i.has("rmi") || i.has("rpi") ? roundedAs(value, i) : value, to);
  }
  if (from.kind == 'f') { // numbers outside become the nearest, NaN becomes 0
    double value = asDouble(bits, from);
    if (std::isnan(value))
      return 0;
    int width = to.bits - (to.kind == 's');
    double low = to.kind == 's' ? -std::ldexp(1.0, width) : 0, high = std::ldexp(1.0, width);
    value = roundedAs(value, i);
    if (value >= high)
      return width == 64 ? ~uint64_t(0) : (uint64_t(1) << width) - 1;
    __int128 whole = value <= low ? __int128(low) : __int128(value);
    return uint64_t(whole) & (to.bits == 64 ? ~uint64_t(0) : (uint64_t(1) << to.bits) - 1);
  }
  __int128 value = asInteger(bits, from);
  if (to.kind == 'f') {
    if (to.bits == 32)
      return std::bit_cast<uint32_t>(float(value));
    return fromDouble(double(value), to); // 16 bits from at most 32
  }
  return uint64_t(value) & (to.bits == 64 ? ~uint64_t(0) : (uint64_t(1) << to.bits) - 1);
}

/// Two numbers at once; false for pairs of types that are not known.
bool definePacked(Instruction &i, const std::string &to, const std::string &from) {
  auto two = [&](FloatFormat format, int bits) { // from a (high) and b (low)
    i.run = [=](Warp &warp, const Instruction &i, uint32_t mask) {
      float high[kLanes], low[kLanes];
      uint32_t d[kLanes];
      warp.read(i.operands[1], high);
      warp.read(i.operands[2], low);
      for (unsigned l = 0; l < kLanes; ++l)
        if (mask >> l & 1)
          d[l] = encode(double(high[l]), format) << bits | encode(double(low[l]), format);
      warp.write(i.operands[0], d, mask);
    };
    return true;
  };
  auto pair = [&](FloatFormat target, int targetBits, FloatFormat source, int sourceBits) {
    i.run = [=](Warp &warp, const Instruction &i, uint32_t mask) {
      uint32_t a[kLanes], d[kLanes], sourceMask = (1u << sourceBits) - 1;
      warp.read(i.operands[1], a);
      for (unsigned l = 0; l < kLanes; ++l)
        if (mask >> l & 1)
          d[l] = encode(decode(a[l] >> sourceBits & sourceMask, source), target) << targetBits |
                 encode(decode(a[l] & sourceMask, source), target);
      warp.write(i.operands[0], d, mask);
    };
    return true;
  };
  if (from == "f32")
    return to == "bf16x2" ? two(kBFloat, 16) : to == "f16x2" ? two(kHalf, 16) : to == "e4m3x2" && two(kE4M3, 8);
  if (from == "e4m3x2" && to == "f16x2")
    return pair(kHalf, 16, kE4M3, 8);
  return from == "f16x2" && to == "e4m3x2" && pair(kE4M3, 8, kHalf, 16);
}

bool defineCvt(Instruction &i) {
  size_t parts = i.opcode.size();
  const std::string &to = i.opcode[parts - 2], &from = i.opcode[parts - 1];
  std::optional<Type> target = typeOf(to), source = typeOf(from);
  if (!target || !source)
    return definePacked(i, to, from);
  if (i.has("ftz") || i.has("sat"))
    return false;
  i.run = [target = *target, source = *source](Warp &warp, const Instruction &i, uint32_t mask) {
    uint64_t a[kLanes], d[kLanes];
    warp.read(i.operands[1], a);
    for (unsigned l = 0; l < kLanes; ++l)
      if (mask >> l & 1)
        d[l] = convert(a[l], target, source, i);
    warp.write(i.operands[0], d, mask);
  };
  return true;
}

bool defineMov(Instruction &i) {
  const Operand &to = i.operands.at(0), &from = i.operands.at(1);
  uint32_t whole = i.opcode.back().find("64") != std::string::npos   ? 64
                   : i.opcode.back().find("16") != std::string::npos ? 16
                                                                     : 32;
  if (to.kind == Operand::Vector)
    i.run = [whole](Warp &warp, const Instruction &i, uint32_t mask) { // apart, the low part first
      uint64_t a[kLanes], d[kLanes];
      warp.read(i.operands[1], a);
      uint32_t each = whole / uint32_t(i.operands[0].parts.size());
      for (size_t p = 0; p < i.operands[0].parts.size(); ++p) {
        for (unsigned l = 0; l < kLanes; ++l)
          d[l] = a[l] >> (p * each) & ((uint64_t(1) << each) - 1);
        warp.write(i.operands[0].parts[p], d, mask);
      }
    };
  else if (from.kind == Operand::Vector)
    i.run = [whole](Warp &warp, const Instruction &i, uint32_t mask) {
      uint64_t a[kLanes], d[kLanes] = {};
      uint32_t each = whole / uint32_t(i.operands[1].parts.size());
      for (size_t p = 0; p < i.operands[1].parts.size(); ++p) {
        warp.read(i.operands[1].parts[p], a);
        for (unsigned l = 0; l < kLanes; ++l)
          d[l] |= (a[l] & ((uint64_t(1) << each) - 1)) << (p * each);
      }
      warp.write(i.operands[0], d, mask);
    };
  else
    i.run = [](Warp &warp, const Instruction &i, uint32_t mask) {
      uint64_t a[kLanes];
      warp.read(i.operands[1], a);
      const Operand &from = i.operands[1];
      if (from.kind == Operand::Parameter)
        std::fill(a, a + kLanes, uint64_t(from.number));
      if (from.kind == Operand::Shared)
        std::fill(a, a + kLanes, from.value + warp.block.base());
      warp.write(i.operands[0], a, mask);
    };
  return true;
}

bool definePrmt(Instruction &i) {
  bool forward = i.has("f4e");
  if (!forward && i.opcode.size() != 2)
    return false;
  i.run = [forward](Warp &warp, const Instruction &i, uint32_t mask) {
    uint32_t a[kLanes], b[kLanes], c[kLanes], d[kLanes];
    warp.read(i.operands[1], a);
    warp.read(i.operands[2], b);
    warp.read(i.operands[3], c);
    for (unsigned l = 0; l < kLanes; ++l) {
      uint64_t both = uint64_t(b[l]) << 32 | a[l];
      d[l] = 0;
      for (unsigned byte = 0; byte < 4; ++byte) {
        uint32_t selector = forward ? (c[l] & 3) + byte : c[l] >> (4 * byte) & 15;
        uint32_t value = uint32_t(both >> (8 * (selector & 7))) & 255;
        if (selector & 8) // the sign, eight times
          value = value & 128 ? 255 : 0;
        d[l] |= value << (8 * byte);
      }
    }
    warp.write(i.operands[0], d, mask);
  };
  return true;
}
} // namespace

bool vernier::emulator::defineConversion(Instruction &i) {
  const std::string &name = i.opcode[0];
  if (name == "cvt")
    return i.opcode.size() > 2 && defineCvt(i);
  if (name == "mov")
    return defineMov(i);
  return name == "prmt" && definePrmt(i);
}
