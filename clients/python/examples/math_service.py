"""The service `math`: {"cmd":"sum"} with a JSON list of numbers is answered with their sum, `count` with a stream of
1 … n. Run it, then in another terminal:  bellhop request '{"cmd":"sum"}' '[1,2,3]'"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import bellhop

service = bellhop.Service("math")


@service.on({"cmd": "sum"})
def sum_(numbers, delivery):
    if not isinstance(numbers, list) or not all(isinstance(n, (int, float)) for n in numbers):
        raise bellhop.Reject("invalid", "a list of numbers is wanted")
    return sum(numbers)


@service.on("count")
@service.on({"cmd": "count"})
def count(n, delivery):
    for i in range(min(int(n), 1000)):
        yield i + 1


if __name__ == "__main__":
    service.run()
