// Matrix products of a warp: 16 of the 64 rows of its warpgroup.
#include "test/emulator/Machine.h"
#include "test/emulator/Numbers.h"

#include <algorithm>
#include <array>

using namespace vernier::emulator;

namespace {
using Table = std::array<float, 65536>;

template <typename F> Table tabulate(F f) {
  Table table;
  for (uint32_t code = 0; code < table.size(); ++code)
    table[code] = f(code);
  return table;
}

const float *decoder(const std::string &type) {
  static const Table e4m3 = tabulate([](uint32_t code) { return float(decode(code & 255, kE4M3)); }), halves = tabulate(half),
                     bfloats = tabulate(bfloat);
  return type == "e4m3" ? e4m3.data() : type == "f16" ? halves.data() : type == "bf16" ? bfloats.data() : nullptr;
}

/// 16 bytes of a matrix in shared memory that descriptors describe, K innermost: rows in groups of eight.
struct Matrix {
  Warp &warp;
  uint32_t begin, groupStride, mode;

  Matrix(Warp &warp, uint64_t descriptor)
      : warp(warp), begin(uint32_t(descriptor & 0x3fff) << 4), groupStride(uint32_t(descriptor >> 32 & 0x3fff) << 4),
        mode(uint32_t(descriptor >> 62)) {
    if (mode != 1)
      throw Failure("wgmma: matrices that are not swizzled by 128 bytes are not known");
    if (descriptor >> 49 & 7)
      throw Failure("wgmma: base offsets are not known");
  }

  const char *piece(uint32_t row, uint32_t byte) const {
    uint32_t offset = begin + row / 8 * groupStride + row % 8 * 128 + byte;
    offset ^= offset >> 3 & 0x70;
    uint32_t address = warp.block.base() + offset;
    const char *at = warp.block.shared(address, 16, 16);
    warp.block.checkFenced(address, 16);
    ReadPiece read{offset, {}};
    std::memcpy(read.bytes.data(), at, read.bytes.size());
    warp.products.add(read);
    return at;
  }
};

constexpr unsigned kRows = 16, kDepthBytes = 32, kMostDepth = 32, kMostCols = 256;

/// As the tensor cores sum E4M3 products (vernier.reference.tensor_core_sums): exponents of codes, 13 bits below the largest.
__attribute__((target_clones("default", "avx2", "avx512f"))) void
accumulateCodes(float *sums, const float (*a)[kMostDepth], const float (*b)[kMostCols], unsigned depth, unsigned cols) {
  constexpr int least = 127 - 6, mantissa = 23, kept = 13;
  static thread_local int rights[kMostDepth][kMostCols];
  auto exponentOf = [](float v) { return int(std::bit_cast<uint32_t>(v) >> mantissa & 255); };
  for (unsigned k = 0; k < depth; ++k)
    for (unsigned c = 0; c < cols; ++c)
      rights[k][c] = std::max(exponentOf(b[k][c]), least);
  for (unsigned r = 0; r < kRows; ++r) {
    float *row = sums + r * kMostCols;
    int largest[kMostCols];
    float up[kMostCols], total[kMostCols];
    for (unsigned c = 0; c < cols; ++c)
      largest[c] = exponentOf(row[c]);
    for (unsigned k = 0; k < depth; ++k) {
      int left = std::max(exponentOf(a[r][k]), least) - 127;
      for (unsigned c = 0; c < cols; ++c)
        largest[c] = std::max(largest[c], a[r][k] * b[k][c] == 0 ? 0 : left + rights[k][c]);
    }
    for (unsigned c = 0; c < cols; ++c) { // units are powers of two, far from the ends of FP32
      up[c] = std::bit_cast<float>(uint32_t(127 + kept + 127 - std::clamp(largest[c], 27, 227)) << mantissa);
      total[c] = std::trunc(row[c] * up[c]);
    }
    for (unsigned k = 0; k < depth; ++k)
      for (unsigned c = 0; c < cols; ++c)
        total[c] += std::trunc(a[r][k] * b[k][c] * up[c]);
    for (unsigned c = 0; c < cols; ++c)
      row[c] = std::bit_cast<float>(std::bit_cast<uint32_t>(total[c] / up[c]) & ~0u << (mantissa - kept));
  }
}

/// sums += a * b; as vectors, where the machine has them.
__attribute__((target_clones("default", "avx2", "avx512f"))) void
accumulate(float *sums, const float (*a)[kMostDepth], const float (*b)[kMostCols], unsigned depth, unsigned cols) {
  for (unsigned r = 0; r < kRows; ++r)
    for (unsigned k = 0; k < depth; ++k)
      for (unsigned c = 0; c < cols; ++c)
        sums[r * kMostCols + c] += a[r][k] * b[k][c];
}

void multiply(Warp &warp, const Instruction &i, unsigned cols, const std::string &type) {
  const float *table = decoder(type);
  unsigned bytes = type == "e4m3" ? 1 : 2, depth = kDepthBytes / bytes;
  auto element = [&](const char *at) {
    uint16_t code = 0;
    std::memcpy(&code, at, bytes);
    return table[code];
  };
  static thread_local float a[kRows][kMostDepth], b[kMostDepth][kMostCols], sums[kRows * kMostCols];
  if (i.operands[1].kind == Operand::Vector) { // a thread's four registers: rows 0 and 8 on, then the other half of K
    for (unsigned r = 0; r < 4; ++r) {
      uint32_t values[kLanes];
      warp.read(i.operands[1].parts.at(r), values);
      for (unsigned l = 0; l < kLanes; ++l)
        for (unsigned e = 0; e < 4 / bytes; ++e) {
          uint16_t code = uint16_t(values[l] >> (8 * bytes * e) & (bytes == 1 ? 0xff : 0xffff));
          a[l / 4 + 8 * (r % 2)][r / 2 * (depth / 2) + l % 4 * (4 / bytes) + e] = table[code];
        }
    }
  } else {
    uint64_t descriptor[kLanes];
    warp.read(i.operands[1], descriptor);
    Matrix left(warp, descriptor[0]);
    for (unsigned r = 0; r < kRows; ++r)
      for (unsigned byte = 0; byte < kDepthBytes; byte += 16) {
        const char *at = left.piece(warp.number % 4 * kRows + r, byte);
        for (unsigned e = 0; e < 16 / bytes; ++e)
          a[r][byte / bytes + e] = element(at + e * bytes);
      }
  }
  uint64_t descriptor[kLanes];
  warp.read(i.operands[2], descriptor);
  Matrix right(warp, descriptor[0]);
  for (unsigned c = 0; c < cols; ++c)
    for (unsigned byte = 0; byte < kDepthBytes; byte += 16) {
      const char *at = right.piece(c, byte);
      for (unsigned e = 0; e < 16 / bytes; ++e)
        b[byte / bytes + e][c] = element(at + e * bytes);
    }
  const std::vector<Operand> &results = i.operands[0].parts;
  if (results.size() != cols / 2)
    throw Failure("wgmma: expected " + std::to_string(cols / 2) + " sums, but got " + std::to_string(results.size()));
  // A thread holds pairs of neighbours in rows 0 and 8 on.
  auto place = [](unsigned d, unsigned l) { return (l / 4 + 8 * (d / 2 % 2)) * kMostCols + d / 4 * 8 + l % 4 * 2 + d % 2; };
  bool adds = warp.readPredicate(i.operands[3]) & 1;
  std::fill(std::begin(sums), std::end(sums), 0.0f);
  for (unsigned d = 0; d < results.size() && adds; ++d) {
    float values[kLanes];
    warp.read(results[d], values);
    for (unsigned l = 0; l < kLanes; ++l)
      sums[place(d, l)] = values[l];
  }
  (bytes == 1 ? accumulateCodes : accumulate)(sums, a, b, depth, cols);
  for (unsigned d = 0; d < results.size(); ++d) {
    float values[kLanes];
    for (unsigned l = 0; l < kLanes; ++l)
      values[l] = sums[place(d, l)];
    warp.write(results[d], values, kAll);
  }
}
} // namespace

bool vernier::emulator::defineProduct(Instruction &i) {
  if (i.opcode[0] != "wgmma")
    return false;
  if (i.has("fence"))
    i.run = [](Warp &, const Instruction &, uint32_t) {};
  else if (i.has("commit_group"))
    i.run = [](Warp &warp, const Instruction &, uint32_t) { warp.products.commit(); };
  else if (i.has("wait_group"))
    // Operands must lie there until the hardware has read them: until here, for all it says.
    i.run = [](Warp &warp, const Instruction &i, uint32_t) {
      for (const ReadPiece &read : warp.products.waitedFor(size_t(i.operands[0].value)))
        if (std::memcmp(warp.block.memory.data() + read.offset, read.bytes.data(), read.bytes.size()) != 0)
          throw Failure("shared memory at " + std::to_string(read.offset) + " changed while wgmma may read it");
    };
  else if (i.has("mma_async") && i.has("f32")) {
    std::string shape;
    for (const std::string &part : i.opcode)
      if (part.rfind("m64n", 0) == 0)
        shape = part;
    const std::string &type = i.opcode.back();
    unsigned cols = shape.empty() ? 0 : unsigned(std::stoul(shape.substr(4)));
    for (size_t o = 4; o < i.operands.size(); ++o)
      if (i.operands[o].value != (o < 6 ? 1 : 0))
        return false; // negated or transposed
    if (!decoder(type) || i.opcode[i.opcode.size() - 2] != type || cols % 8 || cols < 8 || cols > 256)
      return false;
    i.run = [cols, type](Warp &warp, const Instruction &i, uint32_t) { multiply(warp, i, cols, type); };
  } else
    return false;
  return true;
}
