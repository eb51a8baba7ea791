#include "runtime/Program.h"

#include <algorithm>

using namespace vernier::runtime;

static std::string number(int64_t value) { return std::to_string(value); }

int64_t vernier::runtime::evaluate(const SizeExpr &expr, const ValueRef *arguments) {
  int64_t sum = 0;
  for (const SizeTerm &term : expr.terms) {
    int64_t value = term.argument < 0 ? term.constant : arguments[size_t(term.argument)].shape[term.dim];
    for (int64_t multiple : term.roundUps)
      value = (value + multiple - 1) / multiple * multiple;
    sum += term.roundDown ? value / term.divisor : (value + term.divisor - 1) / term.divisor;
  }
  return sum;
}

std::vector<Shape> vernier::runtime::shapesOf(const std::vector<ValueView> &values) {
  std::vector<Shape> shapes;
  for (const ValueView &value : values)
    shapes.push_back(value.shape);
  return shapes;
}

Status Program::checkShapes(const std::vector<ValueView> &arguments) const {
  const Artifact &artifact = *artifact_;
  if (arguments.size() != artifact.arguments.size())
    return Error{"expected " + number(artifact.arguments.size()) + " arguments, but got " + number(arguments.size())};
  for (size_t i = 0; i < arguments.size(); ++i) {
    const ValueSpec &spec = artifact.arguments[i];
    if (arguments[i].shape.size() != spec.shape.size())
      return Error{"argument " + number(i) + ": expected rank " + number(spec.shape.size()) + ", but got " +
                   number(arguments[i].shape.size())};
    if (arguments[i].buffers.size() != spec.buffers.size())
      return Error{"argument " + number(i) + ": expected " + number(spec.buffers.size()) + " buffers, but got " +
                   number(arguments[i].buffers.size())};
  }
  std::vector<ValueRef> refs(arguments.begin(), arguments.end());
  return checkShapes(refs.data());
}

Status Program::checkShapes(const ValueRef *arguments) const {
  const Artifact &artifact = *artifact_;
  for (size_t i = 0; i < artifact.arguments.size(); ++i)
    for (size_t d = 0; d < artifact.arguments[i].shape.size(); ++d)
      if (int64_t wanted = evaluate(artifact.arguments[i].shape[d], arguments); wanted != arguments[i].shape[d])
        return Error{"argument " + number(i) + ": expected dimension " + number(d) + " to be " + number(wanted) + ", but got " +
                     number(arguments[i].shape[d])};
  for (const CheckSpec &check : artifact.checks) {
    if (check.kind != CheckSpec::EqualSizes)
      continue;
    int64_t left = evaluate(check.left, arguments);
    if (int64_t right = evaluate(check.right, arguments); left != right)
      return Error{"sizes differ: " + describe(check.left) + " is " + number(left) + ", " + describe(check.right) + " is " +
                   number(right)};
  }
  return {};
}

Status Program::checkApart(const ValueRef *arguments, const ValueRef *results) const {
  const Artifact &artifact = *artifact_;
  struct Range {
    const char *begin, *end;
  };
  auto rangeOf = [&](const ValueRef &value, const ValueSpec &spec, size_t part) {
    const BufferSpec &buffer = artifact.buffers[size_t(spec.buffers[part])];
    int64_t bytes = elementBytes(buffer.element);
    for (const SizeExpr &size : buffer.shape)
      bytes *= evaluate(size, arguments);
    auto *begin = static_cast<const char *>(value.buffers[part]);
    return Range{begin, begin + bytes};
  };
  // Whether a value has a buffer in the given range, but for one that may be there.
  auto meets = [&](const Range &range, const ValueRef &value, const ValueSpec &spec, int result) {
    for (size_t i = 0; i < spec.buffers.size(); ++i) {
      Range other = rangeOf(value, spec, i);
      if (range.begin >= other.end || other.begin >= range.end)
        continue;
      bool same = range.begin == other.begin && range.end == other.end;
      bool allowed = same && std::any_of(artifact.inPlace.begin(), artifact.inPlace.end(), [&](const InPlaceSpec &pair) {
                       return pair.argument == spec.buffers[i] && pair.result == result;
                     });
      if (!allowed)
        return true;
    }
    return false;
  };
  for (size_t r = 0; r < artifact.results.size(); ++r)
    for (size_t part = 0; part < artifact.results[r].buffers.size(); ++part) {
      Range range = rangeOf(results[r], artifact.results[r], part);
      int buffer = artifact.results[r].buffers[part];
      for (size_t a = 0; a < artifact.arguments.size(); ++a)
        if (meets(range, arguments[a], artifact.arguments[a], buffer))
          return Error{artifact.name + ": result " + number(int64_t(r)) + " overlaps argument " + number(int64_t(a))};
      for (size_t other = 0; other < r; ++other)
        if (meets(range, results[other], artifact.results[other], buffer))
          return Error{artifact.name + ": result " + number(int64_t(r)) + " overlaps result " + number(int64_t(other))};
    }
  return {};
}

std::vector<Shape> Program::resultShapes(const std::vector<ValueView> &arguments) const {
  std::vector<Shape> inputs = shapesOf(arguments), shapes;
  for (const ValueSpec &result : artifact_->results) {
    Shape shape;
    for (const SizeExpr &size : result.shape)
      shape.push_back(evaluate(size, inputs));
    shapes.push_back(std::move(shape));
  }
  return shapes;
}

Shape Program::bufferShape(int buffer, const std::vector<Shape> &arguments) const {
  Shape shape;
  for (const SizeExpr &size : artifact_->buffers[buffer].shape)
    shape.push_back(evaluate(size, arguments));
  return shape;
}
