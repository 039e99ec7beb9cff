from crmgate.testing.bitrix24 import FakeBitrix24
from crmgate.testing.server import serve

serve(FakeBitrix24())
