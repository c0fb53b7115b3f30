"""Functions recorded in the sample stores."""


def add(x, y=2):
    return x + y


def table(n, scale=1.0):
    return [{"id": i, "value": i * scale} for i in range(n)]


def nested(data, *, flag=False):
    return {"data": data, "flag": flag, "deep": [[1, 2], [3, [4, 5]]]}


def text(*parts, sep="-"):
    return sep.join(parts)
