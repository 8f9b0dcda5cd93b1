"""The same caller for asyncio; the requests run at the same time."""
import asyncio
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import bellhop


async def main():
    async with bellhop.AsyncClient("caller") as client:
        asked = (client.request({"cmd": "sum"}, [1, 2, n], timeout=2) for n in range(10))
        print("sums:", [reply.data for reply in await asyncio.gather(*asked)])
        async for item in client.request_stream("count", 3, timeout=2):
            print("count:", item.data)


asyncio.run(main())
