"""A caller: asks `math` for a sum and for a stream, publishes one event, and leaves."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import bellhop

with bellhop.Client("caller") as client:
    print("sum:", client.request({"cmd": "sum"}, [1, 2, 3], timeout=2).data)
    for item in client.request_stream("count", 3, timeout=2):
        print("count:", item.data)
    try:
        client.publish("order.new", {"id": 7})
        print("order.new: accepted")
    except bellhop.Error as e:
        print("order.new:", e)
