"""Runs gzjax: python launch.py --config=configs/demo.py --workdir=runs/demo."""

from gzjax.pipeline.launch import main

if __name__ == "__main__":
  main()
