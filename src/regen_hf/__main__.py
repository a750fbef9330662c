"""`python -m regen_hf`, which `accelerate launch -m` and `torchrun -m` can start."""

from .cli import main

if __name__ == "__main__":
    main()
