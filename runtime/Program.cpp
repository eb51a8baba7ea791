#include "runtime/Program.h"

using namespace vernier::runtime;

static std::string number(int64_t value) { return std::to_string(value); }

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
  std::vector<Shape> shapes = shapesOf(arguments);
  for (size_t i = 0; i < arguments.size(); ++i) {
    const ValueSpec &spec = artifact.arguments[i];
    if (shapes[i].size() != spec.shape.size())
      return Error{"argument " + number(i) + ": expected rank " + number(spec.shape.size()) + ", but got " +
                   number(shapes[i].size())};
    for (size_t d = 0; d < spec.shape.size(); ++d)
      if (int64_t wanted = evaluate(spec.shape[d], shapes); wanted != shapes[i][d])
        return Error{"argument " + number(i) + ": expected dimension " + number(d) + " to be " + number(wanted) + ", but got " +
                     number(shapes[i][d])};
    if (arguments[i].buffers.size() != spec.buffers.size())
      return Error{"argument " + number(i) + ": expected " + number(spec.buffers.size()) + " buffers, but got " +
                   number(arguments[i].buffers.size())};
  }
  for (const CheckSpec &check : artifact.checks) {
    if (check.kind != CheckSpec::EqualSizes)
      continue;
    int64_t left = evaluate(check.left, shapes);
    if (int64_t right = evaluate(check.right, shapes); left != right)
      return Error{"sizes differ: " + describe(check.left) + " is " + number(left) + ", " + describe(check.right) + " is " +
                   number(right)};
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
