"""A run of a few seconds of every study, on embedded data: one line each, the flags behind `robustray run NAME`.

They start from the quick size. A seed is not among them: the contract gives it.
"""

from collections.abc import Mapping

TINY: Mapping[str, str] = {
    "attack-sweep": "--model digits:mlp --num-images 40 --norm linf --eps-linf 0.1 0.2 --num-steps 3 --num-examples 1",
    "robust-training": "--norm linf --eps-train-linf 0.2 --eps-test-linf 0.1 0.2 --num-seeds 1 --epochs 2 "
    "--num-images 24 --num-autoattack 0 --num-traced 4 --test-steps 2 --trace-steps 4 --num-examples 1",
    "representations": "--architecture digits:mlp --num-seeds 1 --epochs 2 --num-targets 12 --inversion-steps 6 "
    "--num-units 3 --unit-starts 2 --unit-steps 4 --num-examples 2 --match-steps 3 --num-pairs 6 --num-interpolated 2 "
    "--path-points 3 --interpolation-steps 3 --add-steps 3 --num-strange 3 --num-maps 6 --head-images 40 "
    "--num-sensed 6 --sense-steps 2 "
    "--direction-starts 1 --direction-steps 3",
    "features": "--num-chains 1 --epochs 4 --eps-construct 1.5 --perturb-steps 6 --match-steps 8 --student-epochs 3 "
    "--eps-test 0.4 --test-steps 3 --num-examples 2 --num-units 3 --unit-images 6 --unit-steps 3 --long-unit-steps 4 "
    "--num-avoided 1",
    "gaussian-features": "--eps-train 1 10 --num-samples 1000 --num-seeds 2 --num-steps 30 --batch-size 32",
    "replication": "--num-studies 4 --num-images 200 --num-candidates 1200 --num-answers 5 10 --num-resamples 200 "
    "--block 2 --num-departed 2 --num-compared 2 --num-mixtures 1 --num-causes 1 --num-by-class 1 "
    "--num-chosen 100",
    "backgrounds": "--rhos 0 0.9 --side 16 --num-train 180 --num-test 90 --num-fixed 90 --epochs 2 --num-seeds 1 "
    "--block 40 --num-examples 2 --num-swept 9 --num-challenged 18 --num-backgrounds 20 --eps-train 0.3 "
    "--num-robust 20 --train-steps 1 --test-steps 2 --curve-shares 0.5",
    "synthesis": "--architecture digits:mlp --num-seeds 1 --epochs 2 --per-class 2 --generate-steps 3 --num-images 8 "
    "--inpaint-steps 3 --enlarge-steps 3 --translate-steps 3 --sketch-steps 3 --paint-steps 3 --num-examples 2",
    "labels": "--test-data scenes:test,n=300,classes=18,multi=0.5,size=16,aa=1 "
    "--train-data scenes:train,n=130,classes=18,multi=0.5,size=16,aa=1 --epochs 1 --num-resamples 200 --block 100",
    "unadversarial": "--train-data scenes:train,n=270,size=16 --test-data scenes:test,n=54,size=16 --num-images 0 "
    "--num-classifiers 1 --epochs 1 --side 5 --other-sides 4 --joint --design-steps 3 --design-batch 32 "
    "--severities 3 --corruptions contrast --num-examples 2",
    "transfer": "--train-data digits:train --test-data digits:test --arch digits:mlp --num-seeds 2 --epochs 2 "
    "--eps-train 0.3 --train-steps 2 --probe-steps 2 --num-probed 40 --per-class 10 --tune-epochs 2 --tune-lrs 0.1 "
    "--num-examples 2 --drifting-features",
    "implementation-matters": "--num-seeds 2 --iterations 2 --num-ablation-seeds 1 --ablation-iterations 1 --steps 128 "
    "--ablation-lrs 3e-4 --evaluation-episodes 2",
    "closer-look": "--iterations 2 --update-steps 128 --milestones 0 0.5 --sample-sizes 64 128 --num-repeats 3 "
    "--truth-blocks 2 --fit-blocks 2 --heldout-blocks 1 --landscape 0 1 --landscape-steps 128 --no-arms",
}

OTHERWISE: Mapping[str, str] = {
    "representations": "--inversion-steps 8",
}
"""By what two runs differ that are compared, for a study whose comparison pairs what one seed has drawn; else by the
seed."""
