import subprocess,re
from importlib.metadata import distribution, distributions
from packaging.requirements import Requirement
import tomllib
proj=tomllib.load(open("pyproject.toml","rb"))["project"]
def closure(reqs):
    seen={}
    stack=[(Requirement(r),()) for r in reqs]
    done=set()
    while stack:
        r,_=stack.pop()
        key=(r.name.lower().replace("_","-"),tuple(sorted(r.extras)))
        if key in done: continue
        done.add(key)
        d=distribution(r.name)
        seen[d.metadata["Name"].lower().replace("_","-")]=d.version.split("+")[0]
        for x in d.requires or []:
            q=Requirement(x)
            envs=[{"extra":e} for e in (r.extras or {""})]
            if q.marker is None or any(q.marker.evaluate(e) for e in envs+[{"extra":""}]):
                stack.append((q,()))
    return seen
base=closure(proj["dependencies"])
opt=proj["optional-dependencies"]
dev=closure(proj["dependencies"]+opt["dev"]+opt["chroma"])
bench=closure(proj["dependencies"]+opt["bench"])
def w(name,pins,head,exclude={}):
    with open(f"requirements/{name}.txt","w") as f:
        f.write(head)
        for k in sorted(pins):
            if exclude.get(k)!=pins[k]: f.write(f"{k}=={pins[k]}\n")
w("base",base,"# Pinned versions of what lesson15 needs; torch comes first so that nothing else picks it.\n# Made from an environment that passed the tests: `make lock`.\n",{"torch":base["torch"]})
w("dev",dev,"# Pinned versions of what the tests need besides base.txt: `make lock`.\n-r base.txt\n",base)
w("bench",bench,"# Pinned versions of the peers that benchmarks/ compares with: `make lock`.\n-r base.txt\n",base)
open("requirements/torch.txt","w").write("torch==%s\n"%base["torch"])
