// Numbers to codes, codes to numbers, codes to codes.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;
using arith::CmpIPredicate;

static bool isFourBits(Type element) { return element.getIntOrFloatBitWidth() == 4; }

/// Poison where a grid says so: NaN for E4M3, 0 for E2M1.
static Value poisoned(Lanes &lanes, OpBuilder &b, Location loc, Value words, Value flags, int64_t vector, Type element) {
  int64_t count = lanes.count(words), given = lanes.count(flags), perWord = vector / count;
  mx::ElementLimits limits = mx::limitsOf(element);
  int64_t code = limits.hasNaN ? int64_t(limits.maxCode) + 1 : 0;
  Value poison = lanes.i32(words, code * 0x01010101);
  if (vector / given >= perWord) // a word lies inside one block
    return lanes.select(lanes.repeat(flags, count / given), poison, words);
  // Blocks down columns: a mask of the codes of every word.
  int64_t bits = 32 / perWord, lanesPerFlag = vector / given;
  SmallVector<Value> masks;
  for (int64_t w = 0; w < count; ++w) {
    Value mask;
    for (int64_t lane = 0; lane < perWord; lane += lanesPerFlag) {
      Value flag = vector::ExtractOp::create(b, loc, flags, (w * perWord + lane) / lanesPerFlag);
      int64_t part = ((int64_t(1) << (bits * lanesPerFlag)) - 1) << (lane * bits);
      auto number = [&](int64_t v) { return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(int32_t(v))); };
      Value some = arith::SelectOp::create(b, loc, flag, number(part), number(0));
      mask = mask ? arith::OrIOp::create(b, loc, mask, some).getResult() : some;
    }
    masks.push_back(mask);
  }
  Value mask = vector::FromElementsOp::create(b, loc, llvm::cast<VectorType>(words.getType()), masks);
  Value kept = arith::AndIOp::create(b, loc, words, arith::XOrIOp::create(b, loc, mask, lanes.i32(words, -1)));
  return lanes.bitOr(kept, arith::AndIOp::create(b, loc, poison, mask));
}

LogicalResult Distribution::encode(hopper::EncodeOp op) {
  VectorType tile = tileType(op.getResult()), from = tileType(op.getInput());
  Type element = tile.getElementType(), f32 = b.getF32Type();
  CodeWords words(b, loc);
  auto full = [&](Type type) { return VectorType::get(from.getShape(), type); };
  Parts scales = op.getScale() ? expanded(op.getScale(), full(f32)) : Parts();
  Parts noise = op.getNoise() ? expanded(op.getNoise(), full(b.getI32Type())) : Parts();
  // Flags stay as coarse as their grid: a word is poisoned as a whole.
  Parts flags;
  if (op.getPoison())
    flags =
        expanded(op.getPoison(), VectorType::get({tile.getDimSize(0), tileType(op.getPoison()).getDimSize(1)}, b.getI1Type()));
  Parts result;
  for (auto [i, part] : llvm::enumerate(parts(op.getInput()))) {
    auto real = VectorType::get({V}, f32);
    auto toF32 = [&](Value v) -> Value { return v.getType() == real ? v : arith::ExtFOp::create(b, loc, real, v).getResult(); };
    SmallVector<Value> made;
    if (!noise.empty()) {
      Value scaled = scales.empty() ? toF32(part) : arith::MulFOp::create(b, loc, toF32(part), scales[i]).getResult();
      Value codes = lanes.encodeStochastic(scaled, element, noise[i]);
      if (isFourBits(element))
        codes = lanes.pack(codes);
      auto type = VectorType::get({lanes.count(codes) / 4}, b.getI32Type());
      codes = vector::BitCastOp::create(b, loc, type, codes);
      for (int64_t w = 0; w < type.getNumElements(); ++w)
        made.push_back(extract(codes, w));
    } else {
      Value numbers;
      if (isFourBits(element)) {
        // bf16 times a power of two stays bf16, and two of them share every instruction.
        Value six = lanes.f32(toF32(part), 1.0 / 64);
        Value factor = scales.empty() ? six : arith::MulFOp::create(b, loc, scales[i], six).getResult();
        if (from.getElementType().isBF16()) {
          auto half = VectorType::get({V}, b.getBF16Type());
          numbers = arith::MulFOp::create(b, loc, part, arith::TruncFOp::create(b, loc, half, factor));
          numbers = toF32(words.magnitudeToE2M1(numbers));
        } else {
          numbers = words.magnitudeToE2M1(arith::MulFOp::create(b, loc, toF32(part), factor));
        }
      } else {
        numbers = scales.empty() ? toF32(part) : arith::MulFOp::create(b, loc, toF32(part), scales[i]).getResult();
      }
      auto convert = [&](int64_t low, int64_t high) {
        return words.e4m3FromFloats(extract(numbers, low), extract(numbers, high));
      };
      for (int64_t v = 0; v < V; v += 4)
        made.push_back(isFourBits(element) ? words.joinHalfWords(convert(v + 1, v), convert(v + 3, v + 2))
                                           : words.joinHalfWords(convert(v, v + 1), convert(v + 2, v + 3)));
      if (isFourBits(element)) {
        Value signs = from.getElementType().isF16() ? toF32(part) : part;
        SmallVector<Value> packed;
        for (int64_t w = 0; w < int64_t(made.size()); w += 2)
          packed.push_back(words.packQuarter(made[w], made[w + 1], words.swappedSigns(signs, 4 * w),
                                             words.swappedSigns(signs, 4 * w + 4), true));
        made = packed;
      }
    }
    Value row = fromNumbers(made, b.getI32Type());
    result.push_back(flags.empty() ? row : poisoned(lanes, b, loc, row, flags[i], V, element));
  }
  tiles[op.getResult()] = result;
  return success();
}

LogicalResult Distribution::decode(hopper::DecodeOp op) {
  VectorType tile = tileType(op.getCodes());
  CodeWords words(b, loc);
  Parts result;
  for (Value part : parts(op.getCodes())) {
    SmallVector<Value> numbers;
    for (Value half : words.toHalves(part, tile.getElementType()))
      for (int64_t i : {0, 1})
        numbers.push_back(arith::ExtFOp::create(b, loc, b.getF32Type(), extract(half, i)));
    result.push_back(fromNumbers(numbers, b.getF32Type()));
  }
  tiles[op.getResult()] = result;
  return success();
}

/// E2M1 codes of pairs of f16 that are scaled by 2^-6; `source` holds the words of codes that the pairs came from.
SmallVector<Value> Distribution::toFourBits(CodeWords &words, ArrayRef<Value> pairs, Value source, bool sourceFour) {
  SmallVector<Value> codes, signs, made;
  auto asWord = [&](Value pair) {
    return extract(vector::BitCastOp::create(b, loc, VectorType::get({1}, b.getI32Type()), pair), 0);
  };
  for (size_t p = 0; p < pairs.size(); p += 2) {
    codes.push_back(words.e4m3FromHalves(words.magnitudeToE2M1(pairs[p]), words.magnitudeToE2M1(pairs[p + 1])));
    // Bytes with the signs: the codes themselves, or the high bytes of the numbers where codes are packed.
    signs.push_back(sourceFour ? words.prmt(asWord(pairs[p]), asWord(pairs[p + 1]), i32(0x7531))
                               : extract(source, int64_t(p / 2)));
  }
  for (size_t w = 0; w < codes.size(); w += 2)
    made.push_back(words.packQuarter(codes[w], codes[w + 1], signs[w], signs[w + 1], /*swapped=*/false));
  return made;
}

/// Through f16: it holds every code exactly, and every product with 2^shift that can round to anything but zero.
/// Products below 2^-24 are cut, but whatever lies there rounds to zero codes in either element.
LogicalResult Distribution::recode(hopper::RecodeOp op) {
  VectorType from = tileType(op.getCodes()), to = tileType(op.getResult());
  Type source = from.getElementType(), target = to.getElementType();
  bool sourceFour = isFourBits(source), targetFour = isFourBits(target);
  CodeWords words(b, loc);
  int64_t rows = from.getDimSize(0);
  auto rowsOf = [&](Value grid) {
    VectorType type = tileType(grid);
    return expanded(grid, VectorType::get({rows, type.getDimSize(1)}, type.getElementType()));
  };
  Parts shifts = rowsOf(op.getShift()), flags = rowsOf(op.getPoison());
  Type f16 = b.getF16Type();
  auto pairType = VectorType::get({2}, f16);
  /// 2^shift as f16, for shifts in [-24, 15]: subnormal below -14.
  auto power = [&](Value shift) -> Value {
    Value normal = lanes.shl(lanes.add(shift, i32(15)), 10);
    Value small = arith::ShRUIOp::create(b, loc, i32(1 << 10), lanes.sub(i32(-14), shift));
    Value isNormal = arith::CmpIOp::create(b, loc, CmpIPredicate::sge, shift, i32(-14));
    Value bits = arith::SelectOp::create(b, loc, isNormal, normal, small);
    return arith::BitcastOp::create(b, loc, f16, arith::TruncIOp::create(b, loc, b.getI16Type(), bits));
  };
  auto spread = [&](Value number) -> Value { return vector::BroadcastOp::create(b, loc, pairType, number); };
  Parts result;
  for (auto [i, part] : llvm::enumerate(parts(op.getCodes()))) {
    int64_t blocks = lanes.count(shifts[i]), perBlock = V / blocks; // codes that share a shift
    SmallVector<Value> made;
    if (sourceFour && !targetFour && perBlock >= 8) {
      // A block's eight magnitudes are a table of eight bytes.
      for (int64_t k = 0; k < blocks; ++k) {
        Value shift = lanes.clamp(extract(shifts[i], k), -24, 6 + 9);
        Value factor = spread(power(shift));
        SmallVector<Value> table;
        for (auto [low, high] : {std::pair(0.0, 0.5), {1.0, 1.5}, {2.0, 3.0}, {4.0, 6.0}}) {
          SmallVector<Attribute> two{b.getFloatAttr(f16, low), b.getFloatAttr(f16, high)};
          Value numbers = arith::ConstantOp::create(b, loc, DenseElementsAttr::get(pairType, two));
          table.push_back(arith::MulFOp::create(b, loc, numbers, factor));
        }
        Value low = words.e4m3FromHalves(table[0], table[1]), high = words.e4m3FromHalves(table[2], table[3]);
        for (int64_t w = k * perBlock / 8; w < (k + 1) * perBlock / 8; ++w) {
          Value word = extract(part, w);
          for (int64_t half : {0, 1}) {
            Value codes = half ? words.shr(word, i32(16)) : word;
            Value magnitudes = words.prmt(low, high, words.bitAnd(codes, i32(0x7777)));
            Value signs = words.prmt(i32(0x8000), i32(0), words.bitAnd(words.shr(codes, i32(3)), i32(0x1111)));
            made.push_back(words.bitOr(magnitudes, signs));
          }
        }
      }
    } else {
      SmallVector<Value> halves = words.toHalves(part, source), moved;
      // To E2M1, everything is scaled by 2^-6 (see magnitudeToE2M1).
      int64_t extra = targetFour ? -6 : 0;
      for (int64_t k = 0; k < blocks; ++k) {
        Value shift = lanes.add(extract(shifts[i], k), i32(extra));
        Value first = lanes.clamp(shift, -24, 15);
        Value factor = spread(power(first));
        // E4M3 may rise by more than f16 has room for: from its smallest code to its largest.
        Value second = op.getFalls() || targetFour ? Value() : spread(power(lanes.clamp(lanes.sub(shift, first), 0, 8)));
        for (int64_t p = k * perBlock / 2; p < (k + 1) * perBlock / 2; ++p) {
          Value v = arith::MulFOp::create(b, loc, halves[p], factor);
          moved.push_back(second ? arith::MulFOp::create(b, loc, v, second).getResult() : v);
        }
      }
      if (targetFour)
        made = toFourBits(words, moved, part, sourceFour);
      else
        for (size_t p = 0; p < moved.size(); p += 2) {
          Value word = words.e4m3FromHalves(moved[p], moved[p + 1]);
          // The conversion makes every NaN positive; a NaN code keeps its sign, as all others do.
          if (!sourceFour)
            word = words.bitOr(word, words.bitAnd(extract(part, int64_t(p / 2)), i32(0x80808080)));
          made.push_back(word);
        }
    }
    result.push_back(poisoned(lanes, b, loc, fromNumbers(made, b.getI32Type()), flags[i], V, target));
  }
  tiles[op.getResult()] = result;
  return success();
}

LogicalResult Distribution::keep(hopper::KeepOp op) {
  VectorType tile = tileType(op.getInput());
  bool codes = isCodes(tile.getElementType());
  VectorType mask = tileType(op.getKeep());
  if (codes && mask.getDimSize(1) != 1)
    return op.emitError() << "expected codes to be kept by rows";
  // Codes are kept by the row, numbers one by one.
  Parts flags = expanded(op.getKeep(), VectorType::get({tile.getDimSize(0), codes ? 1 : tile.getDimSize(1)}, b.getI1Type()));
  Parts result;
  for (auto [i, part] : llvm::enumerate(parts(op.getInput()))) {
    Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(part.getType()));
    Value flag = codes ? extract(flags[i], 0) : flags[i];
    result.push_back(arith::SelectOp::create(b, loc, flag, part, zero));
  }
  tiles[op.getResult()] = result;
  return success();
}
