// Narrow floating-point numbers, as the hardware rounds them.
#ifndef VERNIER_TEST_EMULATOR_NUMBERS_H
#define VERNIER_TEST_EMULATOR_NUMBERS_H

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace vernier::emulator {

struct FloatFormat {
  int exponentBits, mantissaBits;
  bool infinities; ///< without them, the largest code is NaN and large numbers saturate.
};
inline constexpr FloatFormat kHalf{5, 10, true}, kBFloat{8, 7, true}, kE4M3{4, 3, false}, kSingle{8, 23, true};

/// To nearest even from a number that has been rounded to odd or not at all. NaN is the hardware's one.
inline uint32_t encode(double value, FloatFormat f) {
  uint32_t sign = std::signbit(value) ? 1u << (f.exponentBits + f.mantissaBits) : 0;
  int bias = (1 << (f.exponentBits - 1)) - 1;
  uint32_t infinity = ((1u << f.exponentBits) - 1) << f.mantissaBits;
  if (std::isnan(value))
    return f.infinities ? infinity | ((1u << f.mantissaBits) - 1) : 0x7f;
  double magnitude = std::fabs(value);
  if (magnitude == 0)
    return sign;
  int exponent = std::isinf(magnitude) ? 4096 : std::ilogb(magnitude);
  int least = 1 - bias;
  if (exponent < 4096) {
    int unit = (exponent < least ? least : exponent) - f.mantissaBits;
    magnitude = std::ldexp(std::nearbyint(std::ldexp(magnitude, -unit)), unit);
    if (magnitude == 0)
      return sign;
    exponent = std::ilogb(magnitude);
  }
  int highest = (1 << f.exponentBits) - 1 - bias - (f.infinities ? 1 : 0);
  double most = f.infinities ? 0 : 448;
  if (f.infinities && exponent > highest)
    return sign | infinity;
  if (!f.infinities && (exponent > highest || magnitude > most))
    return sign | 0x7e;
  if (exponent < least)
    return sign | uint32_t(std::ldexp(magnitude, f.mantissaBits - least));
  uint32_t mantissa = uint32_t(std::ldexp(magnitude, f.mantissaBits - exponent)) & ((1u << f.mantissaBits) - 1);
  return sign | uint32_t(exponent + bias) << f.mantissaBits | mantissa;
}

inline double decode(uint32_t code, FloatFormat f) {
  uint32_t mantissa = code & ((1u << f.mantissaBits) - 1);
  uint32_t exponent = code >> f.mantissaBits & ((1u << f.exponentBits) - 1);
  int bias = (1 << (f.exponentBits - 1)) - 1;
  bool negative = code >> (f.exponentBits + f.mantissaBits) & 1, top = exponent == (1u << f.exponentBits) - 1;
  double value;
  if (top && (f.infinities || mantissa == (1u << f.mantissaBits) - 1))
    value = f.infinities && !mantissa ? std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  else if (!exponent)
    value = std::ldexp(double(mantissa), 1 - bias - f.mantissaBits);
  else
    value = std::ldexp(double(mantissa | 1u << f.mantissaBits), int(exponent) - bias - f.mantissaBits);
  return negative ? -value : value;
}

inline float bfloat(uint32_t code) { return std::bit_cast<float>(code << 16); }
inline float half(uint32_t code) { return float(decode(code & 0xffff, kHalf)); }

/// a * b + c of narrow numbers, to odd: rounding it once more is right.
inline double fusedToOdd(double a, double b, double c) {
  double product = a * b, sum = product + c; // products of narrow numbers are exact
  if (!std::isfinite(sum))
    return sum;
  double part = sum - product, error = (product - (sum - part)) + (c - part);
  if (error != 0 && !(std::bit_cast<uint64_t>(sum) & 1))
    sum = std::nextafter(sum, error > 0 ? HUGE_VAL : -HUGE_VAL);
  return sum;
}

/// The hardware's NaN for any.
inline float canonical(float value) { return value == value ? value : std::bit_cast<float>(0x7fffffffu); }

} // namespace vernier::emulator

#endif
