from haagent.testing.contract import ArbiterContract
from haagent_sqlite import open_arbiter

class TestSqlite(ArbiterContract):
    gives_changes = False
    async def open(self, node):
        return await open_arbiter(self.options(node, (), path="registers.db"))
