"""Faults a study has to survive: nothing lost, nothing wrong, one line that says what happened, and the same command goes on.

    OMP_NUM_THREADS=1 python -m launch.faults                 # all of them, from the root of the checkout; as root, for the mounts
    OMP_NUM_THREADS=1 python -m launch.faults.cut_short       # one

A fault is a module with ``FAULT``, its name in results/faults.md, and ``iter_cases(trial)``. One more is one more name in
``__main__.FAULTS``. One that is tried by a script of its own, or elsewhere, adds its row by ``record.add_row``, or by hand:

    python launch/kill_study.py --kills 50
    python -m launch.faults.record "kill -9 at 50 random moments of a study" --cases 50
        --seen "bit-identical to the undisturbed study" --command "python launch/kill_study.py --kills 50"
"""
