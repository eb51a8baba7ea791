// Between memory and the parts of a thread.
#include "compiler/Conversion/HopperToNVVM/Distribution.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace vernier;
using namespace vernier::simt;
using arith::CmpIPredicate;

static Value add(OpBuilder &b, Location loc, Value a, Value c) { return arith::AddIOp::create(b, loc, a, c); }

Value vernier::simt::andBelow(OpBuilder &b, Location loc, Value condition, Value at, Value limit) {
  if (!limit)
    return condition;
  Value inside = arith::CmpIOp::create(b, loc, CmpIPredicate::ult, at, limit);
  return condition ? arith::AndIOp::create(b, loc, condition, inside).getResult() : inside;
}

Value Distribution::itemRow(int64_t item) {
  CodeWords words(b, loc);
  int64_t group = layout.getRowGroup(), adjacent = layout.adjacentRows();
  Value first = group == 1 ? threadRow : words.shl(threadRow, i32(llvm::Log2_64(group)));
  if (adjacent < layout.getThreadRows()) { // all items of the adjacent threads come before those of the next ones
    Value low = words.bitAnd(threadRow, i32(adjacent - 1)), high = words.bitAnd(threadRow, i32(-adjacent));
    first = words.add(words.mul(high, i32(layout.items())), words.shl(low, i32(llvm::Log2_64(group))));
  }
  return words.add(first, i32(layout.rowOf(item)));
}

Value Distribution::gridColumn(int64_t gridCols) {
  int64_t width = layout.blockCols(gridCols);
  int64_t vector = layout.getVector();
  if (width <= vector)
    return arith::MulIOp::create(b, loc, threadCol, i32(vector / width));
  if (width >= layout.getThreadCols() * vector)
    return i32(0);
  return arith::ShRUIOp::create(b, loc, threadCol, i32(llvm::Log2_64(width / vector)));
}

Value Distribution::ownsGrid(VectorType grid) {
  Value owns;
  auto first = [&](Value coordinate, int64_t sharing) {
    if (sharing == 1)
      return;
    Value rest = arith::AndIOp::create(b, loc, coordinate, i32(sharing - 1));
    Value is = arith::CmpIOp::create(b, loc, CmpIPredicate::eq, rest, i32(0));
    owns = owns ? arith::AndIOp::create(b, loc, owns, is).getResult() : is;
  };
  first(threadCol, layout.sharingCols(grid.getDimSize(1)));
  first(threadRow, layout.sharingRows(grid.getDimSize(0)));
  return owns;
}

Distribution::Address Distribution::addressOf(Value memref, VectorType tile, Value stride) {
  auto type = llvm::cast<MemRefType>(memref.getType());
  int64_t bits = tile.getElementType().isIndex() ? 64 : tile.getElementTypeBitWidth();
  Address address{number(memref), {}, bits};
  if (type.getRank() < 2)
    return address;
  if (stride) // columns of a packed row fill whole bytes
    address.stride = bits < 8 ? arith::ShRUIOp::create(b, loc, add(b, loc, number(stride), index(1)), index(1)).getResult()
                              : arith::MulIOp::create(b, loc, number(stride), index(bits / 8)).getResult();
  else
    address.stride = index(type.getDimSize(1) * type.getElementTypeBitWidth() / 8);
  return address;
}

Value Distribution::pointer(const Address &address, Value row, Value col) {
  Value bytes = index(0);
  if (col)
    bytes = address.elementBits < 8 ? arith::ShRUIOp::create(b, loc, col, index(1)).getResult()
                                    : arith::MulIOp::create(b, loc, col, index(address.elementBits / 8)).getResult();
  if (row && address.stride)
    bytes = add(b, loc, arith::MulIOp::create(b, loc, row, address.stride), bytes);
  else if (row)
    bytes = add(b, loc, arith::MulIOp::create(b, loc, row, index(address.elementBits / 8)), bytes);
  return LLVM::GEPOp::create(b, loc, address.base.getType(), b.getI8Type(), address.base, ValueRange{toI64(bytes)});
}

/// Element in which pieces of a row are moved: packed codes as bytes.
static Type movedType(OpBuilder &b, Type element) {
  if (element.getIntOrFloatBitWidth() <= 8)
    return b.getI8Type();
  return element;
}

LogicalResult Distribution::load(hopper::LoadOp op) {
  VectorType tile = tileType(op.getResult());
  Type element = tile.getElementType();
  Address address = addressOf(op.getMemref(), tile, op.getStride());
  int64_t lanesHere = layout.localCols(tile.getDimSize(1));
  int64_t perMoved = element.getIntOrFloatBitWidth() < 8 ? 2 : 1;
  Type moved = movedType(b, element);
  int64_t piece = op.getCols() ? std::min<int64_t>(std::max<int64_t>(op.getAlignment(), perMoved), lanesHere) : 1;
  // At most 16 bytes at a time.
  piece = std::min<int64_t>({piece, layout.neighbours(tile.getDimSize(1)), 128 / element.getIntOrFloatBitWidth()});
  Value column = op.getCols() ? add(b, loc, number(op.getCols()), toIndex(gridColumn(tile.getDimSize(1)))) : Value();
  Parts result;
  for (auto [i, partType] : llvm::enumerate(partTypes(tile))) {
    Value row = op.getRows() ? toIndex(extract(parts(op.getRows())[i], 0)) : Value();
    Value present = op.getPresent()
                        ? extract(expanded(op.getPresent(), VectorType::get({tile.getDimSize(0), 1}, b.getI1Type()))[i], 0)
                        : Value();
    auto pieceType = VectorType::get({piece / perMoved}, moved);
    auto whole = VectorType::get({lanesHere / perMoved}, moved);
    Value collected;
    for (int64_t at = 0; at < lanesHere; at += piece) {
      Value here = column ? add(b, loc, column, index(layout.colOffset(at, tile.getDimSize(1)))) : Value();
      Value condition = andBelow(b, loc, present, here, number(op.getLimit()));
      auto read = [&]() -> Value {
        unsigned bytes = unsigned(piece * element.getIntOrFloatBitWidth() / 8);
        // Wide pieces as words: every element type then takes the same instruction.
        if (bytes >= 4) {
          Value words =
              LLVM::LoadOp::create(b, loc, VectorType::get({bytes / 4}, b.getI32Type()), pointer(address, row, here), bytes);
          return vector::BitCastOp::create(b, loc, pieceType, words);
        }
        return LLVM::LoadOp::create(b, loc, pieceType, pointer(address, row, here), bytes);
      };
      Value v;
      if (condition) {
        auto branch = scf::IfOp::create(b, loc, pieceType, condition, /*withElseRegion=*/true);
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPointToStart(branch.thenBlock());
        scf::YieldOp::create(b, loc, read());
        b.setInsertionPointToStart(branch.elseBlock());
        Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(pieceType));
        scf::YieldOp::create(b, loc, zero);
        v = branch.getResult(0);
      } else {
        v = read();
      }
      if (piece == lanesHere) {
        collected = v;
      } else {
        if (!collected)
          collected = arith::ConstantOp::create(b, loc, b.getZeroAttr(whole));
        collected = vector::InsertStridedSliceOp::create(b, loc, v, collected, at / perMoved, 1);
      }
    }
    result.push_back(collected.getType() == partType
                         ? collected
                         : vector::BitCastOp::create(b, loc, llvm::cast<VectorType>(partType), collected).getResult());
  }
  tiles[op.getResult()] = result;
  return success();
}

/// Words at an address, where a condition holds. Predicated rather than in a branch of its own: LLVM would sink all that makes
/// the words below the branch, loads included, which then begin one after the other.
static void storePredicated(OpBuilder &b, Location loc, Value condition, Value words, Value to) {
  auto type = llvm::dyn_cast<VectorType>(words.getType());
  int64_t count = type ? type.getNumElements() : 1, bits = getElementTypeOrSelf(words.getType()).getIntOrFloatBitWidth();
  SmallVector<Value> operands{to, condition};
  std::string names, constraints = "l,b";
  Type moved = b.getIntegerType(unsigned(std::max<int64_t>(bits, 16))); // bytes are the low half of 16-bit registers
  for (int64_t i = 0; i < count; ++i) {
    Value word = type ? vector::ExtractOp::create(b, loc, words, i).getResult() : words;
    word = word.getType().isInteger() ? word
                                      : arith::BitcastOp::create(b, loc, b.getIntegerType(unsigned(bits)), word).getResult();
    operands.push_back(word.getType() == moved ? word : arith::ExtUIOp::create(b, loc, moved, word).getResult());
    names += (i ? ", $" : "$") + std::to_string(i + 2);
    constraints += bits == 64 ? ",l" : bits == 32 ? ",r" : ",h";
  }
  std::string vectors = count > 1 ? ".v" + std::to_string(count) : "";
  std::string text = "@$1 st.global" + vectors + ".b" + std::to_string(bits) + " [$0], {" + names + "};";
  simt::inlineAsm(b, loc, {}, operands, text, constraints);
}

LogicalResult Distribution::store(hopper::StoreOp op) {
  VectorType tile = tileType(op.getValue());
  Type element = tile.getElementType();
  Address address = addressOf(op.getMemref(), tile, op.getStride());
  int64_t lanesHere = layout.localCols(tile.getDimSize(1));
  int64_t perMoved = element.getIntOrFloatBitWidth() < 8 ? 2 : 1;
  Type moved = movedType(b, element);
  int64_t piece = op.getCols() ? std::min<int64_t>(std::max<int64_t>(op.getAlignment(), perMoved), lanesHere) : 1;
  piece = std::min<int64_t>({piece, layout.neighbours(tile.getDimSize(1)), 128 / element.getIntOrFloatBitWidth()});
  Value column = op.getCols() ? add(b, loc, number(op.getCols()), toIndex(gridColumn(tile.getDimSize(1)))) : Value();
  Value owns = ownsGrid(tile);
  for (auto [i, part] : llvm::enumerate(parts(op.getValue()))) {
    Value row = op.getRows() ? toIndex(extract(parts(op.getRows())[i], 0)) : Value();
    Value valid = op.getValid() ? extract(parts(op.getValid())[i], 0) : Value();
    if (owns)
      valid = valid ? arith::AndIOp::create(b, loc, valid, owns).getResult() : owns;
    auto whole = VectorType::get({lanesHere / perMoved}, moved);
    Value bytesOrNumbers = part.getType() == whole ? part : vector::BitCastOp::create(b, loc, whole, part).getResult();
    for (int64_t at = 0; at < lanesHere; at += piece) {
      Value here = column ? add(b, loc, column, index(layout.colOffset(at, tile.getDimSize(1)))) : Value();
      Value condition = andBelow(b, loc, valid, here, number(op.getLimit()));
      // Many pieces have many addresses, which are better found in branches than held together.
      bool predicated = condition && lanesHere <= 2 * piece;
      OpBuilder::InsertionGuard guard(b);
      if (condition && !predicated) {
        auto branch = scf::IfOp::create(b, loc, condition, /*withElseRegion=*/false);
        b.setInsertionPointToStart(branch.thenBlock());
      }
      Value v = bytesOrNumbers;
      if (piece != lanesHere)
        v = vector::ExtractStridedSliceOp::create(b, loc, v, at / perMoved, piece / perMoved, 1);
      unsigned bytes = unsigned(piece * element.getIntOrFloatBitWidth() / 8);
      if (bytes >= 4)
        v = vector::BitCastOp::create(b, loc, VectorType::get({bytes / 4}, b.getI32Type()), v);
      Value to = pointer(address, row, here);
      if (predicated)
        storePredicated(b, loc, condition, v, to);
      else
        LLVM::StoreOp::create(b, loc, v, to, bytes);
    }
  }
  return success();
}
