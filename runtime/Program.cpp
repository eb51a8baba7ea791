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

int64_t Program::bytesOf(size_t buffer, const ValueRef *arguments) const {
  const BufferSpec &spec = artifact_->buffers[buffer];
  int64_t bytes = elementBytes(spec.element);
  for (const SizeExpr &size : spec.shape)
    bytes *= evaluate(size, arguments);
  return bytes;
}

Status Program::checkApart(const Range *ranges) const {
  const Artifact &artifact = *artifact_;
  auto meet = [&](int other, int result) {
    const Range &a = ranges[other], &b = ranges[result];
    if (a.begin >= b.end || b.begin >= a.end)
      return false;
    bool same = a.begin == b.begin && a.end == b.end;
    return !same || std::none_of(artifact.inPlace.begin(), artifact.inPlace.end(),
                                 [&](const InPlaceSpec &pair) { return pair.argument == other && pair.result == result; });
  };
  auto anyMeets = [&](const ValueSpec &other, const ValueSpec &result) {
    for (int a : other.buffers)
      for (int b : result.buffers)
        if (meet(a, b))
          return true;
    return false;
  };
  for (size_t r = 0; r < artifact.results.size(); ++r) {
    for (size_t a = 0; a < artifact.arguments.size(); ++a)
      if (anyMeets(artifact.arguments[a], artifact.results[r]))
        return Error{artifact.name + ": result " + number(int64_t(r)) + " overlaps argument " + number(int64_t(a))};
    const std::vector<int> &own = artifact.results[r].buffers;
    for (size_t i = 0; i < own.size(); ++i)
      for (size_t j = 0; j < i; ++j)
        if (meet(own[j], own[i]))
          return Error{artifact.name + ": codes and scales of result " + number(int64_t(r)) + " overlap"};
    for (size_t other = 0; other < r; ++other)
      if (anyMeets(artifact.results[other], artifact.results[r]))
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
