"""Write the two commands of the README's first screen to FOLDER/1.sh and FOLDER/2.sh, so that CI runs just those."""

import re
import sys
from pathlib import Path

folder = Path(sys.argv[1])
folder.mkdir(parents=True)
readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
blocks = re.findall(r"```bash\n(.*?)```", readme, flags=re.DOTALL)[:2]
if len(blocks) != 2:
    sys.exit("README.md must begin with two bash blocks: the main job, and the tests.")
for number, block in enumerate(blocks, start=1):
    (folder / f"{number}.sh").write_text(block, encoding="utf-8")
